"""verify knows every encoder that can be built: each is a case of the patch that serves it."""

from __future__ import annotations

import pytest

from ascend_patches.checks.check import declared
from ascend_patches.checks.encoders import EVERY_ENCODER
from ascend_patches.patches import PATCHES


@pytest.mark.parametrize("title", EVERY_ENCODER)
def test_a_patch_has_a_check_of_the_encoder(title: str) -> None:
    checks = [check.name for patch in PATCHES for check in declared(patch)]
    assert [name for name in checks if name.startswith((f"{title}:", f"{title} as on an NPU:"))]
