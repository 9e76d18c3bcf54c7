"""Real engines for the serving tests: each is run once in a session, and its answers are kept."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
from serving.served_engines import Engines, Seen, Serve
from serving.serving_site import ROOT, Site


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    checkpoint = tmp_path_factory.mktemp("tiny-qwen3-vl")
    subprocess.run([sys.executable, ROOT / "tools" / "tiny_qwen3_vl.py", checkpoint], check=True, capture_output=True)
    return Engines(checkpoint, tmp_path_factory.mktemp("cache-of-vllm"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An environment in which nothing activates the toolkit by itself."""
    return Site(tmp_path_factory.mktemp("bare"), plugin=False)


@pytest.fixture(scope="session")
def with_plugin(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An environment with the toolkit installed, and nothing more done."""
    return Site(tmp_path_factory.mktemp("with-plugin"), plugin=True)


@pytest.fixture(scope="session")
def with_hook(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An environment with the toolkit installed, in which ``ascend-patches install`` was run."""
    site = Site(tmp_path_factory.mktemp("with-hook"), plugin=True)
    site.install_hook()
    return site


@pytest.fixture(scope="session")
def unpatched(engines: Engines, bare: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What a server without the toolkit answers, and how it ends when a worker is killed."""
    return engines.serve(bare, tmp_path_factory.mktemp("unpatched"), kill_a_worker=True)


@pytest.fixture(scope="session")
def served(
    engines: Engines, bare: Site, with_plugin: Site, with_hook: Site, tmp_path_factory: pytest.TempPathFactory
) -> Serve:
    """What a server answers that the toolkit reached in the named way."""
    run = (bare.command("ascend-patches"), "run", "--")

    @cache
    def way_in(name: str) -> Seen:
        folder = tmp_path_factory.mktemp("served")
        if name == "run":
            return engines.serve(bare, folder, command=run, kill_a_worker=True)
        if name == "run, again":
            return engines.serve(bare, folder, command=run)
        if name == "run, two workers":
            return engines.serve(bare, folder, "--tensor-parallel-size", "2", command=run)
        return engines.serve({"plugin": with_plugin, ".pth": with_hook}[name], folder)

    return way_in
