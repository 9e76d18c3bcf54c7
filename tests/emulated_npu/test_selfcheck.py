"""``python -m emulated_npu`` says what holds, and fails when something does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


COMMAND = """
    import sys
    from emulated_npu import __main__
    sys.exit(__main__.main())
"""


@pytest.fixture(scope="module")
def report(run_python: Run) -> dict[str, object]:
    return json.loads(run_python(COMMAND, "--layers", "5", "--json").stdout)


def test_the_package_is_the_command() -> None:
    command = [sys.executable, "-m", "emulated_npu", "--layers", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 layers, 2 copies to the host" in result.stdout


def test_everything_holds(report: dict[str, Any]) -> None:
    assert report["holds"], report["checks"]


def test_without_host_lengths_every_layer_copies_to_the_host(report: dict[str, Any]) -> None:
    assert report["counts"]["without_host_lengths"]["device_to_host"] == 5


def test_with_host_lengths_nothing_is_copied_to_the_host(report: dict[str, Any]) -> None:
    assert report["counts"]["with_host_lengths"]["device_to_host"] == 0


def test_every_known_release_has_its_ops_counted(report: dict[str, Any]) -> None:
    assert {"2.5.1", "2.13.0"} <= report["ops_by_release"].keys()
    assert all(report["ops_by_release"].values())


def test_text_is_plain_and_ends_with_the_verdict(run_python: Run) -> None:
    result = run_python(COMMAND, "--layers", "2", "--torch-npu", "2.5.1")
    assert result.returncode == 0, result.stderr
    assert "\033" not in result.stdout
    assert result.stdout.splitlines()[-1] == "all 6 checks hold"


def test_unknown_release_is_refused_with_the_known_ones(run_python: Run) -> None:
    result = run_python(COMMAND, "--torch-npu", "0.1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "known releases: 2.5.1" in result.stderr


def test_wrong_number_of_layers_is_a_wrong_call(run_python: Run) -> None:
    assert run_python(COMMAND, "--layers", "0").returncode == 2


def test_failed_check_is_shown_and_fails_the_command(run_python: Run) -> None:
    code = """
        import sys
        from emulated_npu import __main__, _self_check
        _self_check.check_refusal = lambda: _self_check.Check("mixed devices", False, "taken")
        sys.exit(__main__.main(["--layers", "1"]))
    """
    result = run_python(code)
    assert result.returncode == 1
    assert "FAILED  mixed devices" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 of 6 checks failed"


def test_torch_too_old_is_said_in_one_line(run_python: Run) -> None:
    code = """
        import sys, torch
        torch.__version__ = "2.9.0"
        from emulated_npu import __main__
        sys.exit(__main__.main([]))
    """
    result = run_python(code)
    assert result.returncode == 1
    assert result.stderr.startswith("the emulated NPU does not work here: the emulated NPU needs torch 2.10")
