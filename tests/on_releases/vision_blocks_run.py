"""Runs every encoder of the release with blocks changed in ways that a service or a plugin may, and prints JSON.

Each change is made to upstream's model and to the patched one, after each has run once as it is: which outputs differ,
and how many linear layers of the plain model run the release's own forward.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import ascend_patches
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, GRIDS
from ascend_patches.checks.whole_encoders import copied

LAYERS = 2
SEES = "__torch_function__"
EXAMPLES = ("Qwen3-VL", "Qwen2.5-VL", "Kimi-K2.5")
"""One encoder of each kind of block is changed."""
TYPE = torch.bfloat16


def main() -> None:
    torch.set_num_threads(1)
    world.start()
    if "registered" in sys.argv:
        register()
    names = [name for name in ENCODERS if ENCODERS[name].there()]
    found: dict[str, Any] = {"encoders": names, "layers": LAYERS, "differing": [], "own_forwards": {}}
    with torch.inference_mode():
        changes = (*CHANGES, *SURROUNDINGS)
        asked = [(name, change) for name in names for change in (changes if name in EXAMPLES else ["nothing"])]
        upstream = {(name, change): output(name, change) for name, change in asked}
        counts = {name: own_forwards(name) for name in names}
        ascend_patches.apply_patches()
        found["differing"] = [
            f"{name}, {change}"
            for (name, change), expected in upstream.items()
            if not torch.equal(output(name, change), expected)
        ]
        found["own_forwards"] = {name: [counts[name], own_forwards(name)] for name in names}
        found["unchanged"] = [
            f"{name}, {change}"
            for (name, change), given in upstream.items()
            if change not in NO_CHANGES and torch.equal(given, upstream[name, "nothing"])
        ]
    status = {each["name"]: each for each in ascend_patches.status()["patches"]}["vision-blocks"]
    found |= {"state": status["state"], "reason": status["reason"]}
    print(json.dumps(found))


def register() -> None:
    """The release's own linear layers, as its worker has them."""
    from vllm.model_executor import custom_op

    with world.configured():
        from vllm_ascend.ascend_config import init_ascend_config
        from vllm_ascend.ops import linear

        init_ascend_config(world._configuration())

    registry = getattr(custom_op, "op_registry_oot", None)
    if registry is None:
        registry = custom_op.CustomOp.op_registry_oot
    for name in ("QKVParallelLinear", "MergedColumnParallelLinear", "ColumnParallelLinear", "RowParallelLinear"):
        registry[name] = getattr(linear, f"Ascend{name}")


def output(name: str, change: str) -> torch.Tensor:
    encoder = ENCODERS[name]
    model = encoder.made(LAYERS, TYPE)
    encoder.run(model, GRIDS, TYPE)
    if change == COPIED:
        model = copied(model)
    block = next(part for part in model.modules() if hasattr(part, "mlp") and hasattr(part, "norm1"))
    first = next(part for part in block.mlp.modules() if hasattr(part, "quant_method"))
    CHANGES.get(change, CHANGES["nothing"])(block, first)
    with SURROUNDINGS.get(change, nullcontext)():
        return encoder.run(model, GRIDS, TYPE).cpu()


def own_forwards(name: str) -> int:
    from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear

    encoder = ENCODERS[name]
    model, codes, count = encoder.made(LAYERS, TYPE), (), 0
    codes = tuple(kind.forward.__code__ for kind in (ColumnParallelLinear, RowParallelLinear))

    def counting(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_code in codes

    sys.setprofile(counting)
    try:
        encoder.run(model, GRIDS, TYPE)
    finally:
        sys.setprofile(None)
    return count


def doubled(output: Any) -> Any:
    return (output[0] * 2, *output[1:]) if isinstance(output, tuple) else output * 2


class Adapted(torch.nn.Module):
    """A linear layer with what LoRA adds to it."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base_layer = base
        self.quant_method, self.tp_size, self.skip_bias_add = base.quant_method, base.tp_size, base.skip_bias_add
        self.weight, self.bias = base.weight, base.bias

    def forward(self, x: torch.Tensor) -> Any:
        return doubled(self.base_layer(x))


def hooked_linear(block: Any, linear: Any) -> None:
    linear.register_forward_hook(lambda _module, _given, output: doubled(output))


def hooked_before(block: Any, linear: Any) -> None:
    linear.register_forward_pre_hook(lambda _module, given: (given[0] * 2,))


def hooked_norm(block: Any, linear: Any) -> None:
    norm = block.norm2 if hasattr(block, "norm2") else block.norm1
    norm.register_forward_hook(lambda _module, _given, output: doubled(output))


def hooked_mlp(block: Any, linear: Any) -> None:
    block.mlp.register_forward_hook(lambda _module, _given, output: output * 2)


def other_method(block: Any, linear: Any) -> None:
    plain = linear.quant_method

    class Scaled(type(plain)):  # type: ignore[misc]
        def apply(self, layer: Any, x: torch.Tensor, bias: Any = None) -> torch.Tensor:
            scaled: torch.Tensor = super().apply(layer, x, bias) * 2
            return scaled

    linear.quant_method = Scaled.__new__(Scaled)
    linear.quant_method.__dict__.update(plain.__dict__)


def other_apply(block: Any, linear: Any) -> None:
    method, plain = linear.quant_method, linear.quant_method.apply
    method.apply = lambda layer, x, bias=None: plain(layer, x, bias) * 2


def other_product(block: Any, linear: Any) -> None:
    method = linear.quant_method
    if "_gemm_impl" not in type(method).apply.__code__.co_names:  # only from 0.29 on a method keeps what it chose
        other_apply(block, linear)
        return
    plain = method._gemm_impl
    method._gemm_impl = lambda *given: plain(*given) * 2


def adapted(block: Any, linear: Any) -> None:
    name = next(name for name, part in block.mlp.named_children() if part is linear)
    setattr(block.mlp, name, Adapted(linear))


def other_weight(block: Any, linear: Any) -> None:
    linear.weight = torch.nn.Parameter(linear.weight.detach() * 2, requires_grad=False)


def other_forward(block: Any, linear: Any) -> None:
    plain = linear.forward
    linear.forward = lambda x: doubled(plain(x))


def other_forward_of_the_mlp(block: Any, linear: Any) -> None:
    plain = type(block.mlp).forward
    block.mlp.forward = MethodType(lambda self, x: plain(self, x) * 2, block.mlp)


def another_mlp(block: Any, linear: Any) -> None:
    kind: Any = type(block.mlp)
    block.mlp.__class__ = type(kind.__name__, (kind,), {"forward": lambda self, x: kind.forward(self, x) * 2})


def operation_of_a_group(block: Any, linear: Any) -> None:
    own = type(linear).forward

    class Grouped(type(linear)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> Any:
            return doubled(own(self, x))

    linear.__class__ = Grouped


def moved_weight(block: Any, linear: Any) -> None:
    """As sleeping does: the same parameter over other memory."""
    linear.weight.data = linear.weight.data.clone() * 2


def weight_of_its_own(block: Any, linear: Any) -> None:
    weight = linear.weight.detach() * 2
    del linear.weight
    linear.weight = weight


def hidden_weight(block: Any, linear: Any) -> None:
    linear.__dict__["weight"] = linear.weight.detach() * 2


def weight_that_sees_functions(block: Any, linear: Any) -> None:
    weight = torch.Tensor._make_subclass(Doubling, linear.weight.data)
    del linear.weight
    linear._parameters["weight"] = weight


def put(linear: Any, kind: Any, values: torch.Tensor) -> torch.Tensor:
    """In place of a linear layer's weight one of a class, with what it says of itself."""
    weight = torch.Tensor._make_subclass(kind, values)
    weight.__dict__.update(linear.weight.__dict__)
    linear._parameters["weight"] = weight
    return weight


def another_of_its_class(block: Any, linear: Any) -> None:
    put(linear, type(linear.weight), linear.weight.data * 2)


def a_class_that_sees_functions(block: Any, linear: Any) -> None:
    kind = type(linear.weight)

    def see(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return seen_as(func, kind.__torch_function__(func, types, args, kwargs or {}))

    put(linear, type(kind.__name__, (kind,), {SEES: classmethod(see)}), linear.weight.data)


def weight_that_sees_by_itself(block: Any, linear: Any) -> None:
    def see(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return seen_as(func, func(*args, **(kwargs or {})))

    put(linear, type(linear.weight), linear.weight.data).__dict__[SEES] = see


def reloaded_weight(block: Any, linear: Any) -> None:
    """As loading again does: other values in the same memory."""
    linear.weight.data.copy_(linear.weight.data * 2)


def weight_in_another_order(block: Any, linear: Any) -> None:
    """As a layout of a device's own: the same parameter over memory with other strides, and other values."""
    linear.weight.data = (linear.weight.data * 2).t().contiguous().t()


class Doubling(torch.Tensor):
    """A weight that doubles what is multiplied with it."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **(kwargs or {}))
        return seen_as(func, found)


def other_norm(block: Any, linear: Any) -> None:
    name = "norm2" if hasattr(block, "norm2") else "norm1"
    setattr(block, name, Doubled(getattr(block, name)))


def another_mlp_put_on(block: Any, linear: Any) -> None:
    block.mlp = Doubled(block.mlp)


def hidden_mlp(block: Any, linear: Any) -> None:
    block.__dict__["mlp"] = Doubled(block.mlp)


class Doubled(torch.nn.Module):
    """Another module in a module's place."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return doubled(self.plain(*args, **kwargs))


def other_call(block: Any, linear: Any) -> None:
    kind: Any = type(linear)
    linear.__class__ = type(kind.__name__, (kind,), {"__call__": lambda self, x: doubled(kind.__call__(self, x))})


def other_call_of_its_own(block: Any, linear: Any) -> None:
    plain = linear._call_impl
    linear._call_impl = lambda *args, **kwargs: doubled(plain(*args, **kwargs))


def seen_as(function: Any, found: Any) -> Any:
    """Another result for each way to multiply: the release's operator and torch's function are not seen alike."""
    name = str(getattr(function, "__name__", function))
    return found * 2 if "gemm" in name else found * 3 if "linear" in name else found


@contextmanager
def hooked_everywhere() -> Iterator[None]:
    def hook(module: Any, given: Any, output: Any) -> Any:
        return doubled(output) if hasattr(module, "quant_method") else output

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class SeesFunctions(TorchFunctionMode):  # type: ignore[misc]
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return seen_as(func, func(*args, **(kwargs or {})))


SEEN = ("aten.linear.", "aten.addmm.", "aten.mm.", "vllm.unquantized_gemm.")


class SeesOperators(TorchDispatchMode):  # type: ignore[misc]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * 2 if str(func).startswith(SEEN) else found


def other_function() -> AbstractContextManager[Any]:
    plain = torch.nn.functional.linear
    return mock.patch.object(torch.nn.functional, "linear", lambda *args, **kwargs: plain(*args, **kwargs) * 2)


def other_norm_of_torch() -> AbstractContextManager[Any]:
    plain = torch.nn.functional.layer_norm
    return mock.patch.object(torch.nn.functional, "layer_norm", lambda *args, **kwargs: plain(*args, **kwargs) * 2)


def other_calls() -> AbstractContextManager[Any]:
    plain: Any = torch.nn.Module.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = plain(self, *args, **kwargs)
        return doubled(found) if hasattr(self, "quant_method") else found

    return mock.patch.object(torch.nn.Module, "__call__", call)


def other_method_of_linear_layers() -> AbstractContextManager[Any]:
    from vllm.model_executor.layers.linear import ColumnParallelLinear

    plain: Any = ColumnParallelLinear.forward
    return mock.patch.object(ColumnParallelLinear, "forward", lambda self, x: doubled(plain(self, x)))


def other_functions_of_parameters() -> AbstractContextManager[Any]:
    from vllm.model_executor.parameter import BasevLLMParameter

    plain = BasevLLMParameter.__torch_function__

    def see(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return seen_as(func, plain(func, types, args, kwargs))

    return mock.patch.object(BasevLLMParameter, SEES, classmethod(see))


def other_types() -> AbstractContextManager[Any]:
    return torch.autocast("npu", dtype=TYPE)


def default_device() -> AbstractContextManager[Any]:
    return torch.device("cpu")


COPIED = "a copy of the model"
CHANGES: dict[str, Callable[[Any, Any], None]] = {
    "nothing": lambda block, linear: None,
    "a hook on a linear layer": hooked_linear,
    "a hook before a linear layer": hooked_before,
    "a hook on a norm": hooked_norm,
    "a hook on an MLP": hooked_mlp,
    "a quantised linear layer": other_method,
    "a method with another apply": other_apply,
    "a method with another product": other_product,
    "a LoRA adapter": adapted,
    "another weight": other_weight,
    "a linear layer with a forward of its own": other_forward,
    "an MLP with a forward of its own": other_forward_of_the_mlp,
    "an MLP of another class": another_mlp,
    "a linear layer of another class": operation_of_a_group,
    "a weight in other memory": moved_weight,
    "a weight that is no parameter": weight_of_its_own,
    "a weight before the parameter": hidden_weight,
    "a weight that sees functions": weight_that_sees_functions,
    "another weight of its class": another_of_its_class,
    "a weight loaded again": reloaded_weight,
    "a weight in another order": weight_in_another_order,
    "a weight of a class that sees functions": a_class_that_sees_functions,
    "a weight of vLLM's that sees functions by itself": weight_that_sees_by_itself,
    "another norm": other_norm,
    "another MLP": another_mlp_put_on,
    "an MLP before the block's": hidden_mlp,
    "a linear layer called otherwise": other_call,
    "a linear layer with a call of its own": other_call_of_its_own,
}
SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    COPIED: nullcontext,
    "a default device": default_device,
    "a hook on every module": hooked_everywhere,
    "a mode that sees functions": SeesFunctions,
    "a mode that sees operators": SeesOperators,
    "another linear in torch": other_function,
    "another layer norm in torch": other_norm_of_torch,
    "another call of modules": other_calls,
    "another forward of linear layers": other_method_of_linear_layers,
    "parameters of vLLM that see functions": other_functions_of_parameters,
    "automatic types": other_types,
}
NO_CHANGES = ("nothing", COPIED, "a default device", "another layer norm in torch", "automatic types")
"""Those that leave outputs as they are, in some encoders at least."""


if __name__ == "__main__":
    main()
