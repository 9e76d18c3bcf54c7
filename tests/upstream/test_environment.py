"""What a gate can find out about the surroundings it is judged in."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from support import World

from ascend_patches.upstream.environment import Environment, Here


@pytest.fixture
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> Here:
    """This process, with the world in front on its path and vLLM's variable not set."""
    monkeypatch.syspath_prepend(str(world.folder))
    monkeypatch.delenv("VLLM_VERSION", raising=False)
    return Here()


@pytest.fixture
def torch_npu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A torch_npu that is loaded: one op with a schema, one function without."""
    module = ModuleType("torch_npu")
    module.npu_rotary_mul = module.npu_format_cast = lambda: None  # type: ignore[attr-defined]
    schema = SimpleNamespace(arguments=[SimpleNamespace(name="self"), SimpleNamespace(name="rotary_mode")])
    packet = SimpleNamespace(overloads=lambda: ["default"], default=SimpleNamespace(_schema=schema))
    torch = ModuleType("torch")
    torch.ops = SimpleNamespace(npu=SimpleNamespace(npu_rotary_mul=packet), atb=SimpleNamespace())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_npu", module)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return module


def test_names_of_distributions_compare_as_pep_503_says() -> None:
    where = Environment({"VLLM_Ascend": "0.13.0"})
    assert where.installed("vllm-ascend") == where.installed("vllm.ascend") is not None


def test_an_unknown_version_is_not_an_absent_package() -> None:
    where = Environment({"vllm": None, "torch": "dev"})
    assert [str(where.installed("vllm")), str(where.installed("torch"))] == ["unknown version", "dev"]
    assert where.installed("torch-npu") is None


def test_without_versions_everything_is_there_and_nothing_says_which_it_is() -> None:
    found = Environment({"vllm": "0.15.0"}).without_versions().installed("vllm")
    assert found is not None
    assert (found.text, found.version) == (None, None)


def test_vllm_version_is_honoured_and_named_as_the_source(
    here: Here, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.package("vllm", {}, version="0.14.0")
    monkeypatch.setenv("VLLM_VERSION", "0.15.0")
    found = here.installed("vllm")
    assert found is not None
    assert (found.text, found.source) == ("0.15.0", "the VLLM_VERSION variable")
    monkeypatch.delenv("VLLM_VERSION")
    found = here.installed("vllm")
    assert found is not None
    assert (found.text, found.source) == ("0.14.0", "vllm-0.14.0.dist-info")


def test_vllm_version_is_for_vllm_only(here: Here, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.package("vllm_ascend", {}, version="0.13.0")
    monkeypatch.setenv("VLLM_VERSION", "0.15.0")
    assert str(here.installed("vllm-ascend")) == "0.13.0"


def test_a_distribution_without_a_package_of_its_name_is_found_by_its_own(here: Here, world: World) -> None:
    world.distribution("Their.Kernels", "2.0", ["kernels"])
    found = here.installed("their-kernels")
    assert found is not None
    assert found.text == "2.0"
    assert here.installed("their-other-kernels") is None


def test_a_stub_in_sys_modules_does_not_hide_the_distribution(
    here: Here, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.distribution("vllm-stub", "1.5", ["vllm_stub"])
    monkeypatch.setitem(sys.modules, "vllm_stub", ModuleType("vllm_stub"))
    assert str(here.installed("vllm-stub")) == "1.5"


@pytest.mark.parametrize(
    ("op", "argument", "expected"),
    [
        ("npu_rotary_mul", None, True),
        ("npu_rotary_mul", "rotary_mode", True),
        ("npu_rotary_mul", "rotate", False),
        ("npu_no_such_op", None, False),
        ("npu_no_such_op", "rotate", False),
        ("npu_format_cast", "anything", None),  # there, but no schema to look into
    ],
)
def test_a_loaded_torch_npu_is_asked_for_ops_and_arguments(
    here: Here, torch_npu: ModuleType, op: str, argument: str | None, expected: bool | None
) -> None:
    assert here.torch_npu_has(op, argument) is expected


def test_a_torch_npu_without_torch_cannot_say_what_its_ops_take(
    here: Here, torch_npu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert here.torch_npu_has("npu_rotary_mul", "rotate") is None


def test_a_torch_npu_that_is_not_loaded_tells_nothing_and_an_absent_one_has_nothing(here: Here, world: World) -> None:
    assert here.torch_npu_has("npu_rotary_mul", None) is False
    world.package("torch_npu", {}, version="2.9.0")
    assert Here().torch_npu_has("npu_rotary_mul", None) is None
    assert "torch_npu" not in sys.modules


def test_supposed_answers_fill_in_only_what_cannot_be_told(here: Here, torch_npu: ModuleType) -> None:
    supposed = here.supposing({("npu_rotary_mul", None): False, ("npu_format_cast", "x"): True})
    assert supposed.torch_npu_has("npu_rotary_mul", None) is True
    assert supposed.torch_npu_has("npu_format_cast", "x") is True
    assert supposed.torch_npu_has("npu_format_cast", "y") is None
    assert supposed.untold == {("npu_format_cast", "y")}
