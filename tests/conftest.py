"""Fixtures of all the core's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Environment, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty world."""
    return World(tmp_path / "world")


@pytest.fixture
def greeting(world: World) -> World:
    """A stand-in vLLM with one function, and a patch that makes it answer otherwise."""
    world.package(
        "vllm",
        {"engine": "def greet(name, mark='!'):\n    'Greets.'\n    return 'upstream ' + name + mark\n"},
        version="0.15.0",
    )
    world.patch(
        "greeting",
        {"vllm.engine:greet": "greet"},
        "def greet(name, mark='!'):\n    return 'patched ' + name + mark\n",
    )
    return world


@pytest.fixture(scope="session")
def shared_environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment of its own with the toolkit on its path, not started by anything; tests leave it as it is."""
    return Environment(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture
def environment(shared_environment: Environment) -> Iterator[Environment]:
    """The same, for tests that install the start hook: it is taken away afterwards."""
    yield shared_environment
    (shared_environment.site_packages / "ascend_patches.pth").unlink(missing_ok=True)
