"""Tests on released vLLM and vllm-ascend: every release in processes of its own, on the emulated NPU.

The releases come from the cache that ``tools/upstream fetch`` fills; ``tools/test upstream`` does that first.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import CONTRACT, NEWEST, REPRESENTATIVE, release_and_file
from releases import runner
from releases.pairs import Pair
from releases.store import Store, default_root

REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-release",
        action="store_true",
        help="run everything on every release; the usual run has the contract on one of each kind, the rest on a few",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    every_release = config.getoption("--every-release")
    chosen: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        pair: Pair | None = getattr(item, "callspec", None) and item.callspec.params.get("pair")  # type: ignore[attr-defined]
        always = every_release or pair is None or _is_usual(item, pair)
        (chosen if always else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = chosen


def _is_usual(item: pytest.Item, pair: Pair) -> bool:
    """Whether the usual run has time for a test on a release."""
    if item.path.name == "test_contract.py":
        return pair.name in CONTRACT
    costly = item.get_closest_marker("costly")
    return pair.name in (REPRESENTATIVE if costly is None else (*NEWEST, *costly.args))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes run tests, one of them gets all that a file asks of a release.

    They share what one process of the release has found; the groups of pytest-xdist are lost on pytest 9.2.
    """
    scheduling: Any = importlib.import_module("xdist.scheduler").LoadScopeScheduling
    return type("ByRelease", (scheduling,), {"_split_scope": lambda _, nodeid: release_and_file(nodeid)})(config, log)


@pytest.fixture(scope="session")
def store() -> Store:
    return Store(default_root(), runner.interpreter(sys.executable))


@pytest.fixture(scope="session")
def on_pair(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs a script on a pair and gives what it prints last, as JSON."""

    def run(
        pair: Pair,
        script: Path,
        *arguments: str,
        start_hook: bool = False,
        in_front: Sequence[Path] = (),
        **variables: str,
    ) -> Any:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
        environ = runner.environment(pair, store, environ)
        entries = [*map(str, in_front), environ["PYTHONPATH"], str(script.parent)]
        if start_hook:
            entries.append(str(REPOSITORY / "ascend_patches" / "starting" / "sitecustomize"))
        environ |= {
            "PYTHONPATH": os.pathsep.join(entries),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            # Operators that return their argument, as torchair's do, are refused by torch where CI is set.
            "TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING": "0",
            **variables,
        }
        folder = tmp_path_factory.mktemp("pair")
        result = subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=folder,
            env=environ | {"TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        said = f"{script.name} on {pair.name}: {result.returncode}\n{result.stderr[-6000:]}"
        assert result.returncode == 0, said
        return json.loads(result.stdout.strip().splitlines()[-1])

    return run
