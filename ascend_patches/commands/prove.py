"""carry --prove: the change's own tests on the release, without the carried patch and with it.

This is the one part of carry that runs code of the change: its tests, in processes of their own and in a temporary
folder, and the carried code in them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import site
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ascend_patches.carrying.own_tests import OwnTests
from ascend_patches.carrying.proven import OneTest, Proof
from ascend_patches.checks import emulation
from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import distributions

MINUTES = 10.0
_PACKAGE = Path(__file__).resolve().parent.parent
_NOT_HANDED_ON = ("ASCEND_PATCHES", "VLLM_", "EMULATED_NPU", "PYTEST_", "GIT_")
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)KEY|KEY$", re.IGNORECASE)
"""Variables that code of a change has no business with."""
_DIES = "the process of the tests ended with {code}; it last said: {said}"
_MARKS = "[pytest]\naddopts =\nasyncio_mode = auto\nfilterwarnings =\n    ignore\n"


class Attempt(NamedTuple):
    """One way to run the tests: which text of them, and on what."""

    text: int
    emulated: bool
    around_upstream: bool = False


class Side(NamedTuple):
    """What one side's process found of one file."""

    tests: dict[str, dict[str, str]]
    device: str
    problem: str
    state: str = ""


def need_tools() -> None:
    """Refuse before anything is fetched where the tests could not be run."""
    if not distributions.has_module("pytest"):
        raise AscendPatchesError(
            f"--prove runs the tests of the change, and pytest is not installed for {sys.executable}; install it with "
            f"`{sys.executable} -m pip install pytest`"
        )
    if not distributions.has_module("torch"):
        raise AscendPatchesError(
            f"--prove runs the tests of the change on the release, and torch is not installed for {sys.executable}; "
            "use the environment that serves, or one that has what the release requires"
        )
    if not distributions.has_module("torch_npu"):
        emulation.required()


def prove(
    tests: OwnTests,
    files: Mapping[str, str],
    name: str,
    roots: Sequence[str],
    base: Mapping[str, str] | None = None,
    minutes: float = MINUTES,
    say: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Run every test file of a change without the patch and with it.

    ``files`` is the distribution that was carried, ``roots`` are the release's folders or wheels, ``base`` the
    environment of the processes where it is not this one's. ``say`` is given what runs.
    """
    with tempfile.TemporaryDirectory(prefix="ascend-patches-prove-") as scratch:
        bench = _Bench(Path(scratch), name, base if base is not None else os.environ, minutes, say)
        bench.lay_out(tests, files, roots)
        results: list[OneTest] = []
        problems = list(tests.missing)
        devices: dict[str, None] = {}
        in_place = True
        for index in range(len(tests.files)):
            found, device, problem, applied = bench.compare(tests, index)
            results += found
            problems += [problem] if problem else []
            devices |= {device: None} if device else {}
            in_place &= applied
    return Proof(tuple(results), ", ".join(devices), tuple(problems), in_place)


class _Bench:
    """The temporary folder in which both sides run, one file of tests after the other."""

    def __init__(
        self, folder: Path, name: str, base: Mapping[str, str], minutes: float, say: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.name = name
        self.minutes = minutes
        self.say = say
        self.base = dict(base)
        self.mocks = False
        self.roots: list[str] = []

    def lay_out(self, tests: OwnTests, files: Mapping[str, str], roots: Sequence[str]) -> None:
        """Write the patch, as an installer would leave it, and what the tests need around them."""
        package = self.name.replace("-", "_")
        metadata = {
            "METADATA": f"Metadata-Version: 2.1\nName: {self.name}\nVersion: 0.1.0\n",
            "entry_points.txt": f"[ascend_patches.patches]\n{package} = {package}:PATCH\n",
        }
        _write(self.folder / "patch", files)
        _write(self.folder / "patch" / f"{package}-0.1.0.dist-info", metadata)
        _write(self.tree, {**tests.around, "pytest.ini": _MARKS})
        # vllm-ascend's tests put mocks in the place of torch_npu on a machine without this command.
        command = self.folder / "bin" / "npu-smi"
        _write(command.parent, {command.name: "#!/bin/sh\nexit 0\n"})
        command.chmod(0o755)
        for name in ("home", "work", "tmp"):
            (self.folder / name).mkdir()
        self.mocks = any("npu-smi" in text for path, text in tests.around.items() if path.endswith("conftest.py"))
        self.roots = [self._unpacked(root, index) for index, root in enumerate(roots)]

    def _unpacked(self, root: str, index: int) -> str:
        """A folder for a release that is a wheel: upstream looks for files beside its modules."""
        if os.path.isdir(root):
            return os.path.abspath(root)
        folder = self.folder / f"release-{index}"
        with zipfile.ZipFile(root) as archive:
            archive.extractall(folder)
        return str(folder)

    def compare(self, tests: OwnTests, index: int) -> tuple[list[OneTest], str, str, bool]:
        """A file's results, the device, what kept it from being run, and whether the patch was in place."""
        best: tuple[list[OneTest], str, str, bool] | None = None
        for attempt in self._attempts(tests, index):
            found = self._attempt(tests, index, attempt)
            if best is None or _worth(found[0]) > _worth(best[0]):
                best = found
            if any(each.is_fixed for each in found[0]):
                break
        assert best is not None
        return best

    def _attempts(self, tests: OwnTests, index: int) -> Iterator[Attempt]:
        for text in range(len(tests.files[index].texts)):
            yield Attempt(text, emulated=True)
            if self.mocks:
                yield Attempt(text, emulated=False)
        if tests.around_upstream:
            yield Attempt(0, emulated=True, around_upstream=True)

    def _attempt(self, tests: OwnTests, index: int, attempt: Attempt) -> tuple[list[OneTest], str, str, bool]:
        file = tests.files[index]
        written = {each.path: each.texts[min(attempt.text, len(each.texts) - 1)] for each in tests.files}
        _write(self.tree, tests.around)
        _write(self.tree, {**(tests.around_upstream if attempt.around_upstream else {}), **written})
        after = self.side(file.path, attempt, patched=True)
        if not any(each["outcome"] == "passed" for each in after.tests.values()):
            # Without a test that passes with the patch nothing can be shown.
            before = Side({}, "", "")
            results = [OneTest(test, "not run", said["outcome"], said["reason"]) for test, said in after.tests.items()]
        else:
            before = self.side(file.path, attempt, patched=False)
            results = list(_compared(before, after))
        problem = f"{file.path}: {after.problem}" if after.problem else ""
        if after.tests and after.state != "applied":
            problem = f"{file.path}: the patch was not in place: {after.state}"
        return results, after.device, problem, after.state == "applied" or not after.tests

    def side(self, path: str, attempt: Attempt, *, patched: bool) -> Side:
        """Run one file on one side, in a process of its own."""
        self.say(f"running {path} {'with' if patched else 'without'} the patch")
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        asked = {
            "tests": [str(self.tree / path)],
            "patch": self.name if patched else None,
            "emulated": attempt.emulated,
            "result": str(result),
        }
        log = self.folder / "log"
        command = [sys.executable, "-m", "ascend_patches.commands.prove_process", json.dumps(asked)]
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                command,
                env=self._environment(attempt, patched=patched),
                cwd=self.folder / "work",
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                code = process.wait(self.minutes * 60)
            except subprocess.TimeoutExpired:
                return Side({}, "", f"not done after {self.minutes:g} minutes")
            finally:
                _end(process)
        try:
            found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return Side({}, "", _DIES.format(code=code, said=" / ".join(lines[-3:])[-600:]))
        if "error" in found:
            raise AscendPatchesError(found["error"])
        problem = f"cannot be collected: {found['uncollected'][0]}" if found["uncollected"] else ""
        if not found["tests"] and not problem:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            problem = f"pytest ended with {found['code']} and ran no test: {' / '.join(lines[-2:])[-400:]}"
        tests = {_short(test, self.tree): said for test, said in found["tests"].items()}
        state = ": ".join(filter(None, (found["state"], found["reason"]))) if found["state"] != "applied" else "applied"
        return Side(tests, found["device"], problem, state)

    def _environment(self, attempt: Attempt, *, patched: bool) -> dict[str, str]:
        base = {name: value for name, value in self.base.items() if _is_handed_on(name)}
        base |= {name: value for name, value in self.base.items() if name.startswith("ASCEND_PATCHES_RELEASE_")}
        path = [str(self.folder / "patch"), *self.roots, *base.get("PYTHONPATH", "").split(os.pathsep)]
        path.append(str(_PACKAGE.parent))
        base["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        if attempt.emulated:
            base["PATH"] = os.pathsep.join([str(self.folder / "bin"), base.get("PATH", os.defpath)])
        base |= _elsewhere(self.folder)
        base |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
        switched = {"ASCEND_PATCHES_DISABLE": "all", "ASCEND_PATCHES_ENABLE": self.name}
        return base | (switched if patched else {"ASCEND_PATCHES": "off"})


def _is_handed_on(name: str) -> bool:
    return not name.startswith(_NOT_HANDED_ON) and _SECRET.search(name) is None


def _elsewhere(folder: Path) -> dict[str, str]:
    """Variables that lead what is written outside of the working folder into the temporary one as well."""
    home = str(folder / "home")
    return {
        "HOME": home,
        "PYTHONUSERBASE": site.getuserbase(),
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": f"{home}/.cache",
        "XDG_CONFIG_HOME": f"{home}/.config",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process of tests and all that it started, which may outlive it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        place = folder / path
        if ".." in Path(path).parts or Path(path).is_absolute():
            raise AscendPatchesError(f"{path}: leads out of the folder of the tests; nothing of it is run")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="\n")


def _compared(before: Side, after: Side) -> Iterator[OneTest]:
    for test in dict.fromkeys((*after.tests, *before.tests)):
        with_it = after.tests.get(test, {"outcome": "not collected", "reason": after.problem})
        without = before.tests.get(test, {"outcome": "not collected", "reason": before.problem})
        yield OneTest(test, without["outcome"], with_it["outcome"], with_it["reason"] or without["reason"])


def _worth(results: Iterable[OneTest]) -> tuple[int, int, int]:
    """How much a run shows: by it the best of several attempts is chosen."""
    found = list(results)
    return (
        sum(each.is_fixed for each in found),
        sum(each.is_only_found for each in found),
        sum(each.after == "passed" for each in found),
    )


def _short(test: str, tree: Path) -> str:
    """A test's name without the temporary folder."""
    return test.replace(f"{tree}{os.sep}", "").removeprefix(f"..{os.sep}tree{os.sep}")
