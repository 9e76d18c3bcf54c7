"""docs/writing-a-patch.md: its example of code that is exchanged later does what the page says."""

from __future__ import annotations

import re

import pytest
from support import REPOSITORY, World

PAGE = (REPOSITORY / "docs" / "writing-a-patch.md").read_text(encoding="utf-8")
EXAMPLE = next(
    block
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    if "first_call.happens()" in block
)
UPSTREAM = """\
class Layer:
    def __init__(self, size):
        self.size = size

    def scale(self):
        return 1 / self.size

    def forward(self, x):
        return x * self.scale()
"""
START = """\
import toy_encoder.layer
from ascend_patches import apply_patches, status
apply_patches()
layer = toy_encoder.layer.Layer(4)
ours = lambda: toy_encoder.layer.Layer.forward.__code__.co_filename.endswith("kept_scale.py")
state = lambda: [(each["state"], each["reason"]) for each in status()["patches"] if each["name"] == "kept-scale"][0]
"""
EXCHANGE = "toy_encoder.layer.Layer.scale = lambda self: 2 / self.size\n"


@pytest.fixture
def toy(world: World) -> World:
    """What the page's example is written for, and the example as a distribution."""
    world.package("toy_encoder", {"layer": UPSTREAM}, version="1.4.0")
    world.distribution("toy-encoder", "1.4.0", ["toy_encoder"])
    world.write("kept_scale.py", EXAMPLE)
    world.distribution("kept-scale", "1.0", ["kept_scale"], {"ascend_patches.patches": "kept_scale:PATCH"})
    return world


@pytest.mark.parametrize("target", ["toy_encoder.layer:Layer.forward", "toy_encoder.layer:Layer.scale"])
def test_the_example_has_the_fingerprints_of_what_it_was_written_for(toy: World, target: str) -> None:
    assert f'"{toy.fingerprint(target)}"' in EXAMPLE


def test_the_example_is_applied_and_computes_the_scale_once(toy: World) -> None:
    code = START + "print(json.dumps([layer.forward(2), layer.forward(2), ours(), state()[0]]))"
    assert toy.python(code).json == [0.5, 0.5, True, "applied"]


def test_the_first_call_of_a_layer_notices_that_the_scale_was_exchanged(toy: World) -> None:
    result = toy.python(START + EXCHANGE + "layer.forward(2)\nprint(json.dumps([ours(), *state()]))")
    ours, state, reason = result.json
    assert (ours, state) == (False, "skipped")
    assert "toy_encoder.layer:Layer.scale, which it relies on, now belongs to __main__" in reason
    assert any("kept-scale is skipped" in line for line in result.complaints)


def test_the_call_that_looks_goes_on_in_the_replacement_and_the_next_one_is_upstream_s(toy: World) -> None:
    code = START + EXCHANGE + "print(json.dumps([layer.forward(2), ours(), layer.forward(2)]))"
    assert toy.python(code).json == [1.0, False, 1.0]


def test_in_strict_mode_the_first_call_raises(toy: World) -> None:
    code = START + EXCHANGE + "from ascend_patches import StrictModeError\n"
    code += "try:\n    layer.forward(2)\nexcept StrictModeError as error:\n    print(json.dumps(str(error)))"
    assert "Layer.scale, which it relies on" in toy.python(code, env={"ASCEND_PATCHES": "strict"}).json
