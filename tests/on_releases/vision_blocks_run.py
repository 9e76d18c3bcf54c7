"""Runs every encoder of the release with blocks changed in ways that a service or a plugin may, and prints JSON.

Each change is made to upstream's model and to the patched one: which outputs differ, and how many linear layers of the
plain model run the release's own forward.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch

import ascend_patches
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, GRIDS

LAYERS = 4
TYPE = torch.bfloat16


def main() -> None:
    torch.set_num_threads(1)
    world.start()
    if "registered" in sys.argv:
        register()
    names = [name for name in ENCODERS if ENCODERS[name].there()]
    found: dict[str, Any] = {"encoders": names, "layers": LAYERS, "differing": [], "own_forwards": {}}
    with torch.inference_mode():
        upstream = {(name, change): output(name, change) for name in names for change in CHANGES}
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
            if change != "nothing" and torch.equal(given, upstream[name, "nothing"])
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
    block = next(part for part in model.modules() if hasattr(part, "mlp") and hasattr(part, "norm1"))
    first = next(part for part in block.mlp.modules() if hasattr(part, "quant_method"))
    CHANGES[change](block, first)
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
}


if __name__ == "__main__":
    main()
