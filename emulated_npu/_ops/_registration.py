"""Registering the ops of one torch_npu release with torch, over their reference implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.fx.node import has_side_effect

from emulated_npu import _accounting, _contiguous, _memory, _schemas, _streams
from emulated_npu._graphs import recorded
from emulated_npu._refusals import Checks

from . import (  # noqa: F401  (importing a family declares its references)
    activations,
    cache_moves,
    experts,
    flash_attention,
    fused_infer_attention,
    latent_attention,
    latent_prologue,
    linear,
    memory,
    norms,
    paged_cache,
    quantisation,
    rotary,
    token_order,
)
from ._reference import FAKES, REFERENCES, Reference
from ._state import STATE

_DISPATCH_KEYS = {"npu": "PrivateUse1", "cpu": "CPU"}


def register(release: str) -> None:
    """Define every schema of ``release`` and register its kernels for where the tensors of the ops live."""
    key = _DISPATCH_KEYS[STATE.place]
    libraries = {namespace: torch.library.Library(namespace, "FRAGMENT") for namespace in ("npu", "atb")}
    for op, schema in _schemas.schemas(release).items():
        namespace, name = op.split("::")
        library = libraries[namespace]
        library.define(schema)
        arguments = torch._C.parse_schema(f"{namespace}::{schema}").arguments
        library.impl(name, _kernel(REFERENCES[op], arguments), key)
        if op in DIFFERENTIABLE and key == "PrivateUse1":
            library.impl(name, differentiable(REFERENCES[op], arguments, namespace, name), "AutogradPrivateUse1")
        fake = FAKES.get(op)
        if fake is not None and (fake.since is None or _schemas.at_least(release, fake.since)):
            library.impl(name, _by_name(fake.shapes, arguments), "Meta")
            if fake.side_effect:
                has_side_effect(_overload(namespace, name))
    STATE.libraries.extend(libraries.values())


def _overload(namespace: str, name: str) -> Any:
    base, _, overload = name.partition(".")
    return getattr(getattr(getattr(torch.ops, namespace), base), overload or "default")


DIFFERENTIABLE = frozenset(
    {
        *("npu::npu_rotary_mul", "npu::npu_rms_norm", "npu::npu_swiglu", "npu::npu_fast_gelu"),
        "npu::npu_fusion_attention",
    }
)
"""The ops that have a derivative. torch_npu has one for each of them, computed by an op of its own."""


class _Recomputed(torch.autograd.Function):  # type: ignore[misc]
    """An op whose gradient is that of its reference implementation, computed again."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, op: Any, call: dict[str, Any], names: list[str], *given: Any) -> Any:
        ctx.reference, ctx.call, ctx.names = reference, call, names
        ctx.save_for_backward(*given)
        return op(**call)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        leaves = [_memory.alias(tensor).detach().requires_grad_() for tensor in ctx.saved_tensors]
        lowered = {name: _lower(value, {}) for name, value in ctx.call.items()}
        with torch.enable_grad():
            result = ctx.reference.compute(**{**lowered, **dict(zip(ctx.names, leaves, strict=True))})
        results = result if isinstance(result, tuple) else (result,)
        asked = [
            (output, _memory.alias(gradient))
            for output, gradient in zip(results, gradients, strict=True)
            if gradient is not None and isinstance(output, torch.Tensor) and output.requires_grad
        ]
        outputs, wanted = zip(*asked, strict=True)
        found = torch.autograd.grad(outputs, leaves, wanted, allow_unused=True)
        _accounting.dispatched(f"{ctx.reference.op}_backward")
        return (None,) * 4 + tuple(None if each is None else _memory.adopt(each.contiguous()) for each in found)


def differentiable(reference: Reference, arguments: Sequence[Any], namespace: str, name: str) -> Callable[..., Any]:
    """The kernel of an op above autograd: with a gradient where one is asked for."""
    signature = _Signature(arguments)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        op = _overload(namespace, name)
        call = signature.bind(args, kwargs)
        names = [each for each, value in call.items() if isinstance(value, torch.Tensor) and value.requires_grad]
        if torch.is_grad_enabled() and names:
            return _Recomputed.apply(reference, op, call, names, *(call[each] for each in names))
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args, **kwargs)

    return kernel


class _Signature:
    """Binds the arguments of a call to their names: torch leaves out those that equal the schema's default."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self._names = [argument.name for argument in arguments]
        self._defaults = {
            argument.name: argument.default_value for argument in arguments if argument.has_default_value()
        }

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._defaults, **dict(zip(self._names, args, strict=False)), **kwargs}


def _by_name(function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any]:
    signature = _Signature(arguments)

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(**signature.bind(args, kwargs))

    return call


def _kernel(reference: Reference, arguments: Sequence[Any]) -> Callable[..., Any]:
    name = reference.op.split("::")[1]
    checks = Checks(name.partition(".")[0])
    on_device = STATE.place == "npu"
    signature = _Signature(arguments)
    written = {argument.name for argument in arguments if argument.alias_info and argument.alias_info.is_write} | {
        argument.name for argument in arguments if argument.is_out or argument.name == "out"
    }
    copied = {argument.name for argument in arguments} - written - reference.host - reference.as_they_lie

    def kernel(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(args, kwargs)
        if on_device:
            _require_places(checks, call, reference.host)
        originals: dict[int, torch.Tensor] = {}
        if reference.aliased:
            # Kept until the results are matched with them: a freed tensor's id may be a result's.
            lowered = {name: _lower(value, originals) for name, value in call.items()}
            result = reference.compute(**lowered)
        else:
            result = reference.compute(**call)
        raised = _raise(result, originals)
        if reference.after is not None:
            reference.after(raised, **call)
        if on_device:
            _accounting.dispatched(reference.op, kernel=reference.kernel)
            if reference.kernel and _accounting.recording():
                _report_hidden_copies(reference.op, {name: call[name] for name in call if name in copied})
            _note(reference.op, call, written, raised)
        return raised

    return recorded(kernel) if on_device and reference.kernel else kernel


def _report_hidden_copies(op: str, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        for tensor in _tensors(value):
            _accounting.hidden(f"{op} {name}", _contiguous.kernels_for(tensor))


def _require_places(checks: Checks, call: Mapping[str, Any], host: frozenset[str]) -> None:
    for name, value in call.items():
        for tensor in _tensors(value):
            if name in host:
                checks.require(
                    tensor.device.type == "cpu",
                    f"{name} is on {tensor.device}. Expected CPU tensor: the op reads it on the host",
                )
            elif not _memory.is_npu(tensor):
                raise checks.refuse(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"npu:0 and {tensor.device}! ({name} is on {tensor.device})"
                )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _lower(value: Any, originals: dict[int, torch.Tensor]) -> Any:
    """``value`` with every device tensor as a CPU tensor over the same memory, remembered in ``originals``."""
    if isinstance(value, torch.Tensor):
        lowered = value
        if _memory.is_npu(value):
            lowered = _memory.alias(value)
            recorded = getattr(value.untyped_storage(), _memory.FORMAT, None)
            if recorded is not None:
                setattr(lowered, _memory.FORMAT, recorded)
        originals[id(lowered)] = value
        return lowered
    if isinstance(value, (list, tuple)):
        return [_lower(item, originals) for item in value]
    return value


def _raise(result: Any, originals: Mapping[int, torch.Tensor]) -> Any:
    """``result`` with every CPU tensor back on the device; a result that is an argument is that argument."""
    if isinstance(result, torch.Tensor):
        original = originals.get(id(result))
        if original is not None:
            return original
        return _memory.adopt(result.contiguous()) if STATE.place == "npu" else result
    if isinstance(result, (tuple, list)):
        return type(result)(_raise(item, originals) for item in result)
    return result


def _note(op: str, call: Mapping[str, Any], written: set[str], result: Any) -> None:
    if not _streams.tracing():
        return
    inputs = [tensor for value in call.values() for tensor in _tensors(value)]
    outputs = [tensor for name in written for tensor in _tensors(call.get(name))]
    outputs += [tensor for tensor in _tensors(result) if not any(tensor is output for output in outputs)]
    detail = {name: value for name, value in call.items() if isinstance(value, (int, float, str, bool))}
    _streams.note(op, inputs, outputs, arguments=detail)
