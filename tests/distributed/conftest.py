"""What the services of these tests run on: an environment with the toolkit in it, and a checkpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from installation import installed_beside_what_is_here
from support import REPOSITORY

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with everything that this one has, and the toolkit really installed."""
    folder = tmp_path_factory.mktemp("installed")
    return installed_beside_what_is_here(folder, HERE, HERE.parent / "emulated_npu").python


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-qwen3-vl")
    subprocess.run([sys.executable, REPOSITORY / "tools" / "tiny_qwen3_vl.py", folder], check=True, capture_output=True)
    return folder
