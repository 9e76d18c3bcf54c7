"""Operators of other libraries without an npu kernel: computed on the host, with the copies that this costs."""

from __future__ import annotations

from typing import Any

import torch

from . import _accounting, _streams
from ._kernels import HostCall, Signature
from ._memory import tensors_in


def fallback(op: Any, *args: Any, **kwargs: Any) -> Any:
    """What torch_npu does with an operator that it does not know: arguments to the host, results to the device."""
    signature = Signature(op)
    if not torch._C._dispatch_has_kernel_for_dispatch_key(signature.name, "CPU"):
        raise NotImplementedError(
            f"Could not run '{signature.name}' with arguments from the 'npu' backend: neither the npu device nor the "
            "CPU has a kernel for it."
        )
    call = HostCall()
    host_args = [call.to_host(arg) for arg in args]
    host_kwargs = {key: call.to_host(value) for key, value in kwargs.items()}
    for npu, _ in call.npu_tensors:
        _streams.refuse_while_capturing(signature.name)
        _accounting.copied_to_host(npu, signature.name)
    result = op(*host_args, **host_kwargs)
    npu_result = call.to_npu(result, contiguous=True)
    for tensor in tensors_in(npu_result):
        _accounting.copied_to_device(tensor, signature.name)
    _accounting.dispatched(signature.name, kernel=False)
    _streams.note(signature.name, [npu for npu, _ in call.npu_tensors], tensors_in(npu_result), host_waits=True)
    return npu_result
