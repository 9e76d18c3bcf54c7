"""Which device patches are verified on."""

from __future__ import annotations

import pytest

from ascend_patches.checks import device


@pytest.mark.parametrize(
    ("required", "emulated"),
    [
        ("2.5.1.post1.dev20250528", "2.5.1.post1"),
        ("2.8.0.post2", "2.9.0"),
        ("2.9.0", "2.9.0"),
        ("2.10.0.post4", "2.11.0"),
        ("99.0", "2.14.0"),
        ("", "2.14.0"),
    ],
)
def test_the_emulated_release_is_the_first_that_is_not_older_than_the_required_one(
    required: str, emulated: str
) -> None:
    assert device.nearest_release(required) == emulated


def test_without_vllm_ascend_nothing_is_required() -> None:
    assert device.required_torch_npu() == ""


def test_without_a_real_npu_the_emulated_one_has_to_be_asked_for() -> None:
    device.bring(emulated=True)
    with pytest.raises(device.NoDeviceError, match="--emulated"):
        device.bring(emulated=False)
