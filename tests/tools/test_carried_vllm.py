"""Differences between neighbouring releases of vLLM: every file is carried, or the reason is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from carried_changes.between_releases import FileOf, counted, files_between, page
from carrying.made_releases import code

OLD = {
    "vllm/core.py": "def one(x):\n    return x\n\n\ndef two(x):\n    return one(x)\n",
    "vllm/made.py": "SIZES = [1, 2]\nTWICE = [size * 2 for size in SIZES]\n",
    "vllm/gone.py": "A = 1\n",
    "vllm/same.py": "A = 1\n",
    "vllm/names.py": "import os\n",
}
NEW = {
    "vllm/core.py": OLD["vllm/core.py"].replace("return x\n", "return x + 1\n", 1)
    + "\n\ndef three(x):\n    return x\n",
    "vllm/made.py": OLD["vllm/made.py"].replace("size * 2", "size * 3"),
    "vllm/same.py": OLD["vllm/same.py"],
    "vllm/names.py": "import os\nimport sys\n",
    "vllm/fresh.py": "def new():\n    return 1\n",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, FileOf]:
    found = files_between(code(tmp_path / "old", OLD), code(tmp_path / "new", NEW), "0.22.1")
    return {file.path: file for file in found}


def test_every_file_that_differs_has_a_verdict(files: dict[str, FileOf]) -> None:
    assert "vllm/same.py" not in files
    assert files["vllm/gone.py"].verdict == "taken away"
    assert files["vllm/names.py"].verdict == "nothing to carry"
    assert files["vllm/core.py"].definitions["exact"] == 1
    assert [path for path, file in files.items() if file.wrong] == []


def test_what_is_not_carried_has_a_reason(files: dict[str, FileOf]) -> None:
    blocked = [file for file in files.values() if file.verdict in ("partly", "not carried", "review")]
    assert [file.path for file in blocked if not file.reasons] == []


def test_the_page_counts_them_and_names_each(files: dict[str, FileOf]) -> None:
    written = page({("0.22.0", "0.22.1"): list(files.values())})
    assert counted("0.22.0", "0.22.1", list(files.values())) in written
    assert "| vllm/gone.py | taken away | - | - |" in written
    assert "def new" not in written


def test_what_is_not_the_newer_releases_code_is_wrong(files: dict[str, FileOf]) -> None:
    wrong = files["vllm/core.py"]._replace(wrong=("vllm.core:one is not the newer release's",))
    assert counted("1", "2", [wrong]).endswith("1 wrong")
