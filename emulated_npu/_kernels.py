"""The kernels of the npu device: each aten operator computes with its CPU kernel on the same memory."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from . import _accounting, _contiguous, _generator, _streams
from ._graphs import recorded
from ._memory import (
    CPU,
    CPU_KEYS,
    adopt,
    alias,
    become,
    is_npu,
    keep_format,
    require_this_device,
    tensors_in,
    unresizable_alias,
)

Kernel = Callable[..., Any]

_MADE_OF_OTHERS = frozenset(
    {
        # They arrange or replace a tensor's sizes and storage, which has to happen to the npu tensor itself.
        "t_",
        "transpose_",
        "squeeze_",
        "squeeze_.dim",
        "squeeze_.dims",
        "unsqueeze_",
        "as_strided_",
        "detach_",
        "resize_as_",
        "_resize_output",
        "set_",
        "set_.source_Tensor",
        # They copy between devices.
        "copy",
        "_foreach_copy_",
        # A Parameter can only be made of a detached tensor that never passed through Python.
        "detach",
        # They read values on the host, through operators that account for it.
        "allclose",
        "_linalg_check_errors",
        "linspace.Tensor_Tensor",
        "linspace.Tensor_Scalar",
        "linspace.Scalar_Tensor",
        "logspace.Tensor_Tensor",
        "logspace.Tensor_Scalar",
        "logspace.Scalar_Tensor",
    }
)
"""Operators whose device-independent torch kernel is right, because it calls operators that have an npu kernel."""

_NOT_STRIDED = ("sparse", "mkldnn", "quantize", "nested", "crow_indices", "ccol_indices", "col_indices", "row_indices")
"""Parts of the names of operators on layouts that the device does not hold."""

_VIEWS_UNDECLARED = frozenset({"_unsafe_view", "unsafe_split.Tensor", "unsafe_split_with_sizes"})
"""Operators that return a view although their schema does not say so."""

_WAITS = {
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "equal": "equal",
    "_unique": "unique",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique_consecutive",
    "unique_dim_consecutive": "unique_consecutive",
    "bincount": "bincount",
}
"""Operators whose result is a host value, or has a size that only the device knows."""

_DRAWS = frozenset(
    {"native_dropout", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"}
)
"""Operators that draw random numbers, also in the overloads that take no generator."""

_ALLOCATES = frozenset({"empty_like", "empty_permuted", "new_empty", "new_empty_strided"})
"""Operators that put no work on a stream; those without a tensor argument have a kernel of their own."""

_KEEPS_STRIDES = _ALLOCATES | {"_fused_sdp_choice"}
"""Operators whose result has the strides of an argument. Every other result of torch_npu is contiguous: its memory is
made by sizes (OpPreparation::apply_tensor_without_format)."""

_MULTIPLIES = frozenset({"mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "matmul", "linear"})
"""Operators that take a matrix transposed as it lies: aclnn passes the transposition on to the kernel."""

_OVERWRITES = frozenset({"fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_"})
"""Operators in place that do not read what they write to."""

_READING_BY_INDEX = frozenset({"index"})
_WRITING_BY_INDEX = frozenset({"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"})
_INDEXING = _READING_BY_INDEX | _WRITING_BY_INDEX
"""Operators that torch lets take indices on the CPU for a tensor on the device."""


_NO_FORMAT = (None, torch.preserve_format, torch.contiguous_format)
"""The memory formats that leave a result contiguous on the device."""


class _ThreadState(threading.local):
    inside_a_kernel = False


_thread = _ThreadState()


def reported() -> bool:
    """Whether the operator being dispatched was called by the program, and not by the kernel of another operator."""
    return not _thread.inside_a_kernel


class OneDispatch:
    """While open, the operators that a kernel is made of are not reported: the kernel is."""

    __slots__ = ("_outer",)

    def __enter__(self) -> None:
        self._outer = _thread.inside_a_kernel
        _thread.inside_a_kernel = True

    def __exit__(self, *exc_info: object) -> None:
        _thread.inside_a_kernel = self._outer


class Signature:
    """What a kernel has to know about the operator that it stands for."""

    def __init__(self, op: Any) -> None:
        schema = op._schema
        self.base = str(schema.name).partition("::")[2]
        self.name = f"{schema.name}.{schema.overload_name}" if schema.overload_name else str(schema.name)
        arguments = list(enumerate(schema.arguments))
        written = [
            (position, argument)
            for position, argument in arguments
            if argument.alias_info and argument.alias_info.is_write
        ]
        self.names = [str(argument.name) for _, argument in arguments]
        self.written = [(position, str(argument.name)) for position, argument in written]
        self.out = [str(argument.name) for _, argument in written if argument.kwarg_only]
        self.draws = any(argument.name == "generator" for _, argument in arguments)
        self.view = self.name.partition("::")[2] in _VIEWS_UNDECLARED or any(
            value.alias_info and not value.alias_info.is_write for value in schema.returns
        )


def compute_kernel(op: Any) -> Kernel:
    """A kernel that runs ``op`` on the CPU names of its npu arguments and gives npu names to what comes out."""
    signature = Signature(op)
    draws, out = signature.draws, signature.out
    indexing = signature.base in _INDEXING
    contiguous = not signature.written and signature.base not in _KEEPS_STRIDES
    multiplies = signature.base in _MULTIPLIES and not signature.written
    may_wait = indexing or signature.base in _WAITS or signature.base == "repeat_interleave"

    def kernel(*args: Any, **kwargs: Any) -> Any:
        call = HostCall()
        host_args = [call.to_host(arg) for arg in args]
        host_kwargs = {key: call.to_host(value) for key, value in kwargs.items()}
        if call.mixed and not (indexing and _only_indices_on_the_cpu(args)):
            raise different_devices()
        if draws:
            host_kwargs["generator"] = _generator.require_npu(kwargs.get("generator"))
        cause = _cause_to_wait(signature.base, args, kwargs) if may_wait else None
        if cause:
            _streams.refuse_while_capturing(cause)
        for name in out:
            host_kwargs[name] = call.to_out(kwargs[name])
        result = _product(op, host_args, host_kwargs) if multiplies else op(*host_args, **host_kwargs)
        for npu, host in call.outs:
            if npu.size() != host.size() or npu.numel() == 0:
                become(npu, host)
        device = kwargs.get("device")
        if device is None or device.type == "npu":
            result = call.to_npu(result, contiguous=contiguous and kwargs.get("memory_format") in _NO_FORMAT)
        if signature.base == "clone":
            keep_format(args[0], result)
        if reported():
            _report(signature, args, kwargs, call, result, cause)
        return result

    return kernel


def _product(op: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A matrix product, also of two dtypes: aclnnMatmul promotes them, and the result has the first one's."""
    dtypes = [tensor.dtype for tensor in args if isinstance(tensor, torch.Tensor)]
    if len(set(dtypes)) < 2 or not all(dtype.is_floating_point for dtype in dtypes):
        return op(*args, **kwargs)
    wide = functools.reduce(torch.promote_types, dtypes)
    return op(*(each.to(wide) if isinstance(each, torch.Tensor) else each for each in args), **kwargs).to(dtypes[0])


def view_kernel(op: Any) -> Kernel:
    """A kernel for an operator that only arranges sizes and strides, on the npu tensor itself."""
    name, redispatch = Signature(op).name, op.redispatch

    def kernel(*args: Any, **kwargs: Any) -> Any:
        if not _accounting.recording() or not reported():
            return redispatch(CPU_KEYS, *args, **kwargs)
        _accounting.dispatched(name, view=True)
        with OneDispatch():
            return redispatch(CPU_KEYS, *args, **kwargs)

    return kernel


class HostCall:
    """One operator call with CPU names in place of npu names."""

    __slots__ = ("_cpu_tensors", "npu_tensors", "outs")

    def __init__(self) -> None:
        self.npu_tensors: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.outs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._cpu_tensors = False

    @property
    def mixed(self) -> bool:
        return self._cpu_tensors and bool(self.npu_tensors)

    def to_host(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if value.is_cpu:
                # torch lets a CPU tensor without dimensions pass as a number.
                self._cpu_tensors |= value.dim() > 0
                return value
            if not is_npu(value):
                return value
            host = alias(value)
            self.npu_tensors.append((value, host))
            return host
        if isinstance(value, (list, tuple)):
            return [self.to_host(item) for item in value]
        if isinstance(value, torch.device) and value.type == "npu":
            require_this_device(value)
            return CPU
        return value

    def to_npu(self, value: Any, *, contiguous: bool = False) -> Any:
        if isinstance(value, torch.Tensor):
            for npu, host in self.npu_tensors:
                if value is host:
                    return npu
            if not value.is_cpu:
                return value
            return adopt(value.contiguous() if contiguous else value)
        if isinstance(value, (list, tuple)):
            return type(value)([self.to_npu(item, contiguous=contiguous) for item in value])
        return value

    def to_out(self, npu: Any) -> Any:
        """The CPU name of an ``out=`` tensor, whose memory may only be exchanged if nothing else can share it."""
        if isinstance(npu, (list, tuple)):
            return [self.to_out(item) for item in npu]
        if not is_npu(npu):
            return npu
        host = unresizable_alias(npu) if npu.numel() else torch.empty(npu.size(), dtype=npu.dtype, device=CPU)
        self.npu_tensors = [pair for pair in self.npu_tensors if pair[0] is not npu] + [(npu, host)]
        self.outs.append((npu, host))
        return host


def _report(signature: Signature, args: Any, kwargs: Any, call: HostCall, result: Any, cause: str | None) -> None:
    if _accounting.recording():
        _accounting.dispatched(signature.name, kernel=signature.base not in _ALLOCATES)
        if signature.base not in _ALLOCATES:
            _report_hidden_copies(signature, args, kwargs, result)
        if signature.base in _INDEXING:
            for index in tensors_in(args[1]):
                if index.is_cpu:
                    _accounting.copied_to_device(index, signature.name)
        if cause:
            _accounting.waited(cause)
    if _streams.tracing() and signature.base not in _ALLOCATES:
        written = [args[at] if at < len(args) else kwargs.get(name) for at, name in signature.written]
        outputs = {id(tensor): tensor for tensor in tensors_in([result, written])}
        waits = {"host_waits": True} if cause else {}
        _streams.note(signature.name, [npu for npu, _ in call.npu_tensors], list(outputs.values()), **waits)


def _report_hidden_copies(signature: Signature, args: Any, kwargs: Any, result: Any) -> None:
    """Report what strided arguments cost: aclnn operators make them contiguous, and copy back what they write."""
    if signature.base == "clone":
        steps = _contiguous.steps_of_copy(args[0], result)
        _accounting.hidden(f"{signature.name} {signature.names[0]}", steps[:-1])
        return
    written = {name for _, name in signature.written}
    for name, value in (*zip(signature.names, args, strict=False), *kwargs.items()):
        for tensor in tensors_in(value):
            if is_npu(tensor) and not tensor.is_contiguous():
                _accounting.hidden(f"{signature.name} {name}", _steps(signature, name in written, tensor))


def _steps(signature: Signature, written: bool, tensor: torch.Tensor) -> tuple[str, ...]:
    if written:
        unread = signature.out or signature.base in _OVERWRITES
        return ("ViewCopy",) if unread else (*_contiguous.kernels_for(tensor), "ViewCopy")
    if signature.base in _MULTIPLIES and tensor.dim() > 1 and _contiguous.is_transposed_matrix(tensor):
        return ()
    return _contiguous.kernels_for(tensor)


def _only_indices_on_the_cpu(args: Any) -> bool:
    indexed, _, *values = args
    return not any(tensor.is_cpu and tensor.dim() for tensor in tensors_in([indexed, values]))


def _cause_to_wait(base: str, args: Any, kwargs: Any) -> str | None:
    if base == "repeat_interleave":
        return "repeat_interleave" if kwargs.get("output_size") is None else None
    if base in _INDEXING:
        masks = [index for index in tensors_in(args[1]) if index.dtype in (torch.bool, torch.uint8)]
        # Writing one value through one mask needs no positions: torch makes a masked_fill of it.
        fills = base in _WRITING_BY_INDEX and len(tensors_in(args[1])) == 1 and args[2].numel() == 1
        return "boolean-mask indexing" if masks and not fills else None
    return _WAITS[base]


def different_devices() -> RuntimeError:
    return RuntimeError("Expected all tensors to be on the same device, but found at least two devices, npu:0 and cpu!")


def generic_kernels(but: Iterable[str]) -> Iterator[tuple[str, Kernel]]:
    """A kernel for every aten operator that a device must or may have one for, by name without ``aten::``.

    Not only for those that need one: what torch would otherwise build out of an allocation and an ``out=`` call is
    one operator on a device, and has to count as one.
    """
    keys = ("CPU", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")
    registered = {name for key in keys for name in torch._C._dispatch_get_registrations_for_dispatch_key(key)}
    aten = {name.removeprefix("aten::") for name in registered if name.startswith("aten::")}
    for name in sorted(aten - _MADE_OF_OTHERS - set(but)):
        if not any(part in name for part in _NOT_STRIDED):
            op = operator(name)
            yield name, _kernel(op)


def operator(name: str) -> Any:
    """The aten operator of a name such as ``add.Tensor``."""
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _kernel(op: Any) -> Kernel:
    signature = Signature(op)
    if signature.view or signature.base == "set_":
        return view_kernel(op)
    kernel = compute_kernel(op)
    if signature.base in _DRAWS and not signature.draws:
        kernel = drawing_kernel(kernel)
    return kernel if signature.base in _ALLOCATES else recorded(kernel)


def drawing_kernel(kernel: Kernel) -> Kernel:
    """``kernel``, drawing from the device's generator what it would draw from the host's."""

    def drawing(*args: Any, **kwargs: Any) -> Any:
        with _generator.drawing_on_the_host():
            return kernel(*args, **kwargs)

    return drawing
