"""Checks of whole vision encoders: one forward of a small one, on images and videos of several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch

from ascend_patches.checks import whole_encoders
from ascend_patches.checks.check import NOWHERE, Call, Check
from ascend_patches.checks.encoders import EVERY_ENCODER, Grids
from ascend_patches.declaring.gates import Gate, absent, installed
from ascend_patches.declaring.tolerance import Tolerance

TOLERANCE = Tolerance(float32=1e-5, bfloat16=3e-2)
"""Of what many layers have rounded, one after the other."""


def checks(
    title: str,
    inputs: Mapping[str, Grids],
    layers: int,
    *,
    where: Gate,
    mended: Gate = NOWHERE,
    dtypes: tuple[str, ...] = (),
) -> Iterator[Check]:
    """The checks of one encoder.

    vLLM alone runs on a CPU: there the forward is kept bit for bit, and as on an NPU, where attention and rotation of
    the other patches take part, near float64.
    """
    for number, (name, grids) in enumerate(inputs.items()):
        # What depends on the dtype depends on it with one input as with another.
        in_types = dtypes or (("bfloat16",) if number else ("float32", "bfloat16"))
        yield Check(
            f"{title}: {name}",
            partial(_prepare, title, layers, grids, True),
            dtypes=in_types,
            where=where & installed("vllm-ascend"),
            mended=mended,
            tolerance=TOLERANCE,
        )
        yield Check(
            f"{title} as on a CPU: {name}",
            partial(_prepare, title, layers, grids, False),
            dtypes=in_types,
            where=where & absent("vllm-ascend"),
            tolerance=TOLERANCE,
        )
    name, grids = next(iter(inputs.items()))
    yield Check(
        f"{title} as on an NPU: {name}",
        partial(_prepare, title, layers, grids, True),
        dtypes=dtypes or ("float32", "bfloat16"),
        where=where & absent("vllm-ascend"),
        bitwise=NOWHERE,
        tolerance=TOLERANCE,
    )


def _prepare(title: str, layers: int, grids: Grids, as_on_an_npu: bool, dtype: torch.dtype) -> Call:
    encoder = EVERY_ENCODER[title]
    model = encoder.made(layers, dtype, as_on_an_npu=as_on_an_npu)
    return Call(
        partial(encoder.forward, model, encoder.pixels(grids, dtype), grids),
        partial(whole_encoders.exact, title, layers, grids, dtype),
    )
