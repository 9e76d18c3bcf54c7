"""Encoders are found in sources: from the attention that is told of sequences up to the models, through inheritance."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path

import pytest

from ascend_patches.upstream.encoder_inventory import Encoder, Inventory, inventory
from ascend_patches.upstream.sources import Roots

LAYERS = """
from vllm.model_executor.layers.attention import MMEncoderAttention

class Attention(Module):
    def __init__(self):
        self.attn = MMEncoderAttention(2, 72)
    def forward(self, x, cu_seqlens):
        return self.attn(x, x, x, cu_seqlens=cu_seqlens)

class Block(Module):
    def __init__(self):
        self.attn = Attention()
    def forward(self, x, cu_seqlens):
        return self.attn(x, cu_seqlens)
"""
TOWER = """
class Tower(Module):
    def __init__(self):
        self.blocks = ModuleList([Block() for _ in range(2)])
    def forward(self, x, grid):
        cu_seqlens = boundaries(grid)
        for block in self.blocks:
            x = block(x, cu_seqlens=cu_seqlens)
        return x

class Model(Module):
    def __init__(self):
        self.visual = Tower()
    def forward(self, x):
        return self.visual(x, None)
"""


def of(folder: Path, **modules: str) -> Inventory:
    """The inventory of a vLLM with these models; two underlines are a dot."""
    for name, text in modules.items():
        path = folder / "vllm" / "model_executor" / "models" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return inventory(Roots([folder]))


def named(found: Inventory) -> dict[str, Encoder]:
    return {each.stack.name: each for each in found.encoders}


def test_the_class_that_loops_over_its_layers_is_the_encoder(tmp_path: Path) -> None:
    (encoder,) = of(tmp_path, tower=LAYERS + TOWER).encoders
    assert str(encoder.stack) == "vllm.model_executor.models.tower:Tower"
    assert (encoder.methods, [each.name for each in encoder.holders]) == (("forward",), ["Model"])


def test_layers_may_come_from_another_module(tmp_path: Path) -> None:
    found = named(of(tmp_path, layers=LAYERS, tower=f"from .layers import Block\n{TOWER}"))
    assert list(found) == ["Tower"]


def test_a_subclass_with_a_forward_of_its_own_is_another_encoder(tmp_path: Path) -> None:
    own = """
        from .tower import Tower
        class Heir(Tower):
            def forward(self, x, grid):
                for block in self.blocks:
                    x = block(x, cu_seqlens=None)
                return x
        """
    found = named(of(tmp_path, tower=LAYERS + TOWER, heir=own))
    tower, heir = found["Tower"].ways[0][0], found["Heir"].ways[0][0]
    assert not tower & heir


def test_a_subclass_that_inherits_forward_runs_the_same_function(tmp_path: Path) -> None:
    found = named(of(tmp_path, tower=LAYERS + TOWER, heir="from .tower import Tower\nclass Heir(Tower):\n    pass\n"))
    assert found["Heir"].ways[0][0] <= found["Tower"].ways[0][0]


def test_a_subclass_that_calls_its_base_runs_both(tmp_path: Path) -> None:
    own = """
        from .tower import Tower
        class Heir(Tower):
            def forward(self, x, grid):
                return super().forward(x, grid)
        """
    found = named(of(tmp_path, tower=LAYERS + TOWER, heir=own))
    heirs = [way for way in found["Tower"].ways[0] if any(each.module.endswith("heir") for each in way)]
    assert heirs == []
    assert "Heir" not in found


def test_an_attention_that_is_told_of_no_sequences_has_nothing_to_read(tmp_path: Path) -> None:
    found = of(tmp_path, tower=LAYERS.replace("cu_seqlens=cu_seqlens)", "cu_seqlens=None)") + TOWER)
    assert (found.encoders, [each.name for each in found.untold]) == ((), ["Attention"])


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("self.attn(x, x, x, cu_seqlens=cu_seqlens)", id="by name"),
        pytest.param("self.attn(x, x, x, cu_seqlens)", id="as the fourth argument"),
    ],
)
def test_boundaries_are_given_in_either_way(call: str, tmp_path: Path) -> None:
    layers = LAYERS.replace("self.attn(x, x, x, cu_seqlens=cu_seqlens)", call)
    assert list(named(of(tmp_path, tower=layers + TOWER))) == ["Tower"]


def test_an_attention_based_on_the_encoder_attention_counts(tmp_path: Path) -> None:
    layers = LAYERS.replace("MMEncoderAttention(2, 72)", "Padded(2, 72)")
    found = of(tmp_path, tower=f"{layers}\nclass Padded(MMEncoderAttention):\n    pass\n{TOWER}")
    assert list(named(found)) == ["Tower"]


def test_an_attention_whose_loop_is_not_seen_stands_for_its_encoder(tmp_path: Path) -> None:
    assert list(named(of(tmp_path, tower=LAYERS))) == ["Attention"]


def test_what_brings_lengths_is_told_from_what_does_not(tmp_path: Path) -> None:
    layers = LAYERS.replace("cu_seqlens=cu_seqlens)", "cu_seqlens=cu_seqlens, sequence_lengths=x)")
    assert not named(of(tmp_path / "one", tower=LAYERS + TOWER))["Tower"].brings_lengths
    assert named(of(tmp_path / "other", tower=layers + TOWER))["Tower"].brings_lengths


def test_a_module_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    broken = "from .tower import Tower\nclass Heir(Tower:\n"
    assert list(named(of(tmp_path, tower=LAYERS + TOWER, broken=broken))) == ["Tower"]


def test_packages_of_models_are_looked_through(tmp_path: Path) -> None:
    assert list(named(of(tmp_path, family__vision=LAYERS + TOWER))) == ["Tower"]


def test_a_wheel_is_read_as_a_folder_is(tmp_path: Path) -> None:
    wheel = tmp_path / "vllm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vllm/models/newest/common/tower.py", LAYERS + TOWER)
    assert list(named(inventory(Roots([wheel])))) == ["Tower"]


def test_a_way_around_is_one_that_misses_what_opens_the_call(tmp_path: Path) -> None:
    """The tower is reached by two models, and only one of them goes through the function that is patched."""
    models = "from .tower import Tower\n" + "\n".join(
        f"class {name}(Module):\n    def __init__(self):\n        self.visual = Tower()\n    def forward(self, x):\n"
        "        return self.visual(x, None)\n"
        for name in ("One", "Other")
    )
    tower = named(of(tmp_path, tower=LAYERS + TOWER.partition("class Model")[0], models=models))["Tower"]
    both = [set(way) for way in tower.ways[0]]
    shared, apart = both[0] & both[1], both[0] - both[1]
    assert tower.covered_by(shared)
    assert not tower.covered_by(apart)
