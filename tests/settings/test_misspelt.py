"""Names in settings that are spelt almost right, and would be silently without effect."""

from __future__ import annotations

import pytest
from support import World


def problems(world: World, settings: str = "", **env: str) -> str:
    if settings:
        env["ASCEND_PATCHES_CONFIG"] = world.settings(settings)
    result = world.command("status", env=env)
    assert (result.returncode != 0) == ("problem: " in result.stdout), result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ASCEND_PATCHES_CONFG", "CONFIG"),
        ("ASCEND_PATCHES_DISABEL", "DISABLE"),
        ("ASCEND_PATCHES_REPORTDIR", "REPORT_DIR"),
    ],
)
def test_a_variable_that_is_almost_ours_is_a_mistake(variable: str, meant: str, greeting: World) -> None:
    shown = problems(greeting, **{variable: "x"})
    assert f"{variable}: there is no such variable; did you mean 'ASCEND_PATCHES_{meant}'?" in shown


@pytest.mark.parametrize("name", ["OF_SOMEBODY", "DEBUG", "SHADOW_DIR"])
def test_other_variables_are_none(name: str, greeting: World) -> None:
    assert "problem" not in problems(greeting, **{f"ASCEND_PATCHES_{name}": "/nowhere"})


@pytest.mark.parametrize("package", ["vlm", "vllm-asend", "torch-nup", "vllm_ascnd"])
def test_a_condition_on_a_package_that_is_almost_one_is_a_mistake_even_of_a_patch_that_is_off(
    package: str, greeting: World
) -> None:
    settings = f"[[patches.greeting.override]]\nwhen = {{ {package} = '>=0.15' }}\nenabled = false\n"
    shown = problems(greeting, settings)
    assert f"patches.greeting.override[1].when.{package}: there is no such package here; did you mean" in shown


@pytest.mark.parametrize("package", ["vllm", "vllm-ascend", "torchair", "toy-encoder", "vllm-omni", "torch_npu"])
def test_a_condition_on_a_package_that_is_not_installed_is_none(package: str, greeting: World) -> None:
    settings = f"[[patches.greeting.override]]\nwhen = {{ {package} = '>=9' }}\nenabled = false\n"
    assert "problem" not in problems(greeting, settings)
