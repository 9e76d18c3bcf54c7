"""tools/torch_environment: a tool started without torch goes on in the environment that has it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch_environment
from venvs import REPOSITORY, CannotMakeError

HERE = Path(__file__).resolve().parents[2] / "tools"
Started = list[tuple[object, list[str], dict[str, str]]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What is started in the place of this process, which was started as `tools/peers -k mla`."""
    calls: Started = []
    monkeypatch.setattr("sys.argv", ["tools/peers", "-k", "mla"])
    monkeypatch.setenv("PYTHONPATH", "/mine")
    monkeypatch.setattr(os, "execve", lambda *given: calls.append(given))
    monkeypatch.setattr(torch_environment, "environment", lambda *_: Path("/made/bin/python"))
    return calls


def test_where_torch_is_missing_the_same_command_is_started_where_it_is(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    torch_environment.go_on_with_torch()
    [(interpreter, command, environ)] = started
    assert str(interpreter) == "/made/bin/python"
    assert command == ["/made/bin/python", "tools/peers", "-k", "mla"]
    assert environ["PYTHONPATH"] == f"{REPOSITORY}{os.pathsep}/mine"


def test_a_python_with_torch_is_left_alone_as_it_may_be_the_one_with_the_npu(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    torch_environment.go_on_with_torch()
    assert started == []


def test_an_environment_that_cannot_be_made_ends_the_tool_with_the_reason(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> Path:
        raise CannotMakeError("pip finds no build of torch")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(torch_environment, "environment", cannot)
    with pytest.raises(SystemExit, match=r"^peers: pip finds no build of torch$"):
        torch_environment.go_on_with_torch()


@pytest.mark.parametrize("tool", ["bench_host", "bench_mla", "bench_vision", "encoders", "peers", "reliance"])
def test_a_tool_that_runs_released_code_asks_for_torch_first(tool: str) -> None:
    text = (HERE / tool).read_text("utf-8")
    assert text.index("go_on_with_torch()") < text.index("Store(default_root()")
