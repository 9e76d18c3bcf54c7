"""Stand-ins for packages that vllm-ascend imports beside torch_npu and that exist for NPUs only.

Their functions and classes can be imported and named, and refuse to be used. A package that is installed is left alone.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from ._stand_in import StandIn, fill, put_in_place, refusing_class, refusing_function

_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "fla_npu": (),
    "fla_npu.ops": (),
    "fla_npu.ops.ascendc": (
        *("causal_conv1d_fn", "causal_conv1d_update", "recurrent_gated_delta_rule", "chunk_gated_delta_rule_fwd"),
        *("chunk_kda_fwd", "recurrent_kda"),
    ),
    "mooncake": (),
    "mooncake.engine": (),
    "mooncake.store": (),
    "xlite": (),
    "xlite._C": ("ScoringFuncSigmoid", "ScoringFuncSoftmax"),
}
_CLASSES: dict[str, tuple[str, ...]] = {
    "mooncake.engine": ("TransferEngine",),
    "mooncake.store": ("MooncakeDistributedStore", "ReplicateConfig"),
    "xlite._C": ("AttnDSA", "AttnMHA", "AttnMLA", "AttnMeta", "Model", "ModelAttnMeta", "ModelConfig", "Runtime"),
}

STAND_INS = ("fla_npu", "mooncake", "xlite")
"""The packages that ``install_stand_ins`` knows."""


def install_stand_ins(*packages: str) -> None:
    """Put stand-ins in place for these packages, of ``STAND_INS``, where they are not installed."""
    for package in packages:
        if package not in STAND_INS:
            raise ValueError(f"there is no stand-in for {package!r}; there are {', '.join(STAND_INS)}")
        if package in sys.modules or importlib.util.find_spec(package) is not None:
            continue
        for name in _FUNCTIONS:
            if name.partition(".")[0] == package:
                module = StandIn(name, "the emulated NPU", __file__)
                fill(module, _content(name))
                put_in_place(module)


def _content(module: str) -> dict[str, Any]:
    functions = {name: refusing_function(f"{module}.{name}", __file__) for name in _FUNCTIONS[module]}
    classes = {name: refusing_class(f"{module}.{name}", __file__) for name in _CLASSES.get(module, ())}
    return {**functions, **classes}
