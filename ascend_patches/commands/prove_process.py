"""The process in which the tests of a change run: the emulated NPU, the carried patch or none, and pytest."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import ascend_patches
from ascend_patches.checks import device, emulation
from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions

_STAND_INS = ("mooncake", "xlite")
_NO_ATTRIBUTE = ("has no attribute", "does not have the attribute")


class Outcomes:
    """What became of every test, as a plugin of pytest."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, str]] = {}
        self.uncollected: list[str] = []

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.uncollected.append(_last_line(report.longreprtext))

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        error = call.excinfo.value
        of_a_module = isinstance(error, AttributeError) and any(each in str(error) for each in _NO_ATTRIBUTE)
        if isinstance(error, ImportError) or (of_a_module and "module" in str(error)):
            # The report of the failure came before.
            self.tests.get(node.nodeid, {})["outcome"] = "name missing"

    def pytest_runtest_logreport(self, report: Any) -> None:
        known = self.tests.setdefault(report.nodeid, {"outcome": "passed", "reason": ""})
        if report.failed:
            known |= {"outcome": "failed", "reason": _last_line(report.longreprtext)}
        elif report.skipped and known["outcome"] == "passed":
            known |= {"outcome": "skipped", "reason": _last_line(report.longreprtext)}


def main() -> None:
    """Run what the first argument names, and leave the outcomes in the file that it names."""
    asked = json.loads(sys.argv[1])
    try:
        found = run(asked["tests"], asked["patch"], emulated=asked["emulated"])
    except AscendPatchesError as error:
        found = {"error": str(error)}
    with open(asked["result"], "w", encoding="utf-8") as stream:
        json.dump(found, stream)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run(tests: list[str], patch: str | None, *, emulated: bool) -> dict[str, Any]:
    """The outcome of every test, and what became of the patch."""
    if not distributions.has_module("pytest"):
        raise AscendPatchesError(
            f"pytest is not installed for {sys.executable}, and the tests of a change run with it; install it with "
            f"`{sys.executable} -m pip install pytest`"
        )
    name = _bring_device() if emulated else "the mocks of upstream's own tests"
    if patch is not None:
        ascend_patches.apply_patches()
    pytest: Any = importlib.import_module("pytest")
    outcomes = Outcomes()
    code = int(pytest.main([*tests, "-q", "-p", "no:cacheprovider"], plugins=[outcomes]))
    state = {"state": "", "reason": ""}
    if patch is not None:
        state = next((each for each in ascend_patches.status()["patches"] if each["name"] == patch), state)
    return {
        "device": name,
        "tests": outcomes.tests,
        "uncollected": outcomes.uncollected,
        "code": code,
        "state": state["state"],
        "reason": state["reason"],
    }


def _bring_device() -> str:
    """An NPU for upstream's tests: the real one where torch_npu is installed, else the emulated one."""
    if not emulation.in_use() and distributions.has_module("torch_npu"):
        return device.bring(emulated=False).name
    on = device.bring(emulated=True)
    absent = [each for each in _STAND_INS if not distributions.has_module(each)]
    emulation.required().install_stand_ins(*absent)
    return f"{on.name}, torch_npu {on.torch_npu}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("E  ")] or text.strip().splitlines()[-1:]
    return " ".join(" ".join(lines[:1]).removeprefix("E").split())[:300]


if __name__ == "__main__":
    main()
