"""Runs one file of tests on a release, unpatched and patched, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from releases import runner
from releases.store import Store

from .peer_scores import Score
from .suites import Suite

_REPOSITORY = Path(__file__).resolve().parents[2]
_START = _REPOSITORY / "ascend_patches" / "starting" / "sitecustomize"
_TOOLS = _REPOSITORY / "tools"
_CONFIGURATIONS = Path(__file__).with_name("configurations.json")
_HEADS = {"deepseek-ai/DeepSeek-V2": 16}
"""Tests of latent attention multiply with weights of this many heads' width, squared: 128 take an hour on a CPU."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def score(suite: Suite, store: Store, sources: Path, file: str, minutes: float, *, all_heads: bool) -> Score:
    """What a file's tests give on both sides."""
    with (
        tempfile.TemporaryDirectory(prefix="peers-") as folder,
        _surroundings(Path(folder), all_heads=all_heads) as place,
    ):
        sides = []
        for patched in (False, True):
            say(f"{suite.release}: {file}, {'patched' if patched else 'unpatched'}")
            sides.append(_outcomes(suite, store, sources, file, place, patched=patched, minutes=minutes))
    return Score(suite.release, suite.title(file), *sides)


@contextmanager
def _surroundings(folder: Path, *, all_heads: bool) -> Iterator[Path]:
    """A folder to run in: with the configurations that tests ask a hub for by name, and an ``npu-smi`` that answers.

    vllm-ascend's tests put mocks in the place of torch_npu on a machine without that command.
    """
    for model, configuration in json.loads(_CONFIGURATIONS.read_text("utf-8")).items():
        if model in _HEADS and not all_heads:
            configuration |= dict.fromkeys(("num_attention_heads", "num_key_value_heads"), _HEADS[model])
        place = folder / "work" / model
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
    command = folder / "bin" / "npu-smi"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    command.chmod(0o755)
    yield folder


def _outcomes(
    suite: Suite, store: Store, sources: Path, file: str, place: Path, *, patched: bool, minutes: float
) -> dict[str, str]:
    """The outcome of every test by name; one entry for the file where it did not end or cannot be collected."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
    environ = runner.environment(suite.pair, store, environ)
    environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TMPDIR": str(place)}
    environ["PATH"] = os.pathsep.join([str(place / "bin"), environ["PATH"]])
    environ["PYTHONPATH"] = os.pathsep.join([environ["PYTHONPATH"], str(_TOOLS)])
    if patched:
        environ["PYTHONPATH"] = os.pathsep.join([environ["PYTHONPATH"], str(_START)])
        environ["ASCEND_PATCHES_ENABLE"] = "all"
    report = place / f"{patched}.xml"
    command = [store.interpreter.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="]
    if suite.plugin:
        command += ["--noconftest", "-p", suite.plugin]
    command += ["--rootdir", str(sources), f"--junitxml={report}", str(sources / file)]
    try:
        done = subprocess.run(
            command,
            cwd=place / "work",
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=minutes * 60,
        )
    except subprocess.TimeoutExpired:
        return {"(the file)": f"not done after {minutes:g} minutes"}
    if not report.is_file():
        return {"(the file)": _not_collected(done)}
    return {_name(case): _outcome(case) for case in ElementTree.parse(report).iter("testcase")} or {
        "(the file)": "no tests"
    }


def _not_collected(done: subprocess.CompletedProcess[str]) -> str:
    """Why pytest left no report: a signal that ended it, or what it said last."""
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    errors = [line.strip(" E") for line in done.stdout.splitlines() if "Error" in line]
    return f"not collected: {errors[-1]}" if errors else "not collected"


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"


def _outcome(case: ElementTree.Element) -> str:
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    return next((kinds[child.tag] for child in case if child.tag in kinds), "passed")
