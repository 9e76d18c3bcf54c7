"""Each shim gives a release what it lacks on this machine, and costs nothing where the release is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from releases import runner

START = Path(runner.__file__).parent / "start"
REPOSITORY = Path(runner.__file__).parents[2]


def child(code: str, shims: str, *folders: Path, **variables: str) -> str:
    """What a process prints that starts with these shims."""
    path = os.pathsep.join(map(str, (START, *folders, REPOSITORY)))
    environment = {**os.environ, "PYTHONPATH": path, "ASCEND_PATCHES_RELEASE_SHIMS": shims, **variables}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_no_shim_imports_torch_by_itself() -> None:
    shims = "emulated_npu,build_info,torchvision_operators,timm_names,avx512_query"
    assert child("import sys; print('torch' in sys.modules)", shims) == "False"


def test_torchvision_finds_its_operators() -> None:
    code = "import torch; print(torch.ops.torchvision.nms.default._schema)"
    assert child(code, "torchvision_operators").startswith("torchvision::nms(Tensor dets")


def test_torch_without_the_shim_lacks_the_operators() -> None:
    code = "import torch; print(hasattr(torch.ops.torchvision, 'nms'))"
    assert child(code, "") == "False"


def test_a_model_that_names_parts_of_timm_can_be_imported() -> None:
    code = "from timm.layers import LayerNorm2d; from timm.models.regnet import RegStage; print(RegStage.__name__)"
    assert child(code, "timm_names") == "RegStage"


def test_torch_answers_the_question_about_avx512() -> None:
    assert child("import torch; print(torch._C._cpu._is_avx512_supported())", "avx512_query") == "False"


@pytest.mark.parametrize(
    "code",
    [
        "from vllm_ascend import _build_info",
        "import vllm_ascend._build_info as _build_info",
    ],
)
def test_a_release_unpacked_from_an_sdist_knows_its_device(code: str, tmp_path: Path) -> None:
    (tmp_path / "vllm_ascend").mkdir()
    (tmp_path / "vllm_ascend" / "__init__.py").write_text("")
    assert child(f"{code}; print(_build_info.__device_type__)", "build_info", tmp_path) == "A2"


def test_the_npu_is_there_as_soon_as_torch_is() -> None:
    code = "import torch, torch_npu; print(torch_npu.__version__, torch.ones(1).npu().device)"
    assert child(code, "emulated_npu", ASCEND_PATCHES_RELEASE_TORCH_NPU="2.9.0") == "2.9.0 npu:0"


WATCH = """
import release_shims._after_import as shims
shims.after_import("watched", lambda module: print("first", module.value))
shims.after_import("watched", lambda module: print("second", module.value))
import watched
print(type(watched.__spec__.loader).__name__, type(watched.__loader__).__name__)
"""


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    (tmp_path / "watched.py").write_text("value = 1\n")
    return tmp_path


def test_every_action_that_waits_for_a_module_is_done_after_it_ran(watched: Path) -> None:
    assert child(WATCH, "build_info", watched).splitlines()[:2] == ["first 1", "second 1"]


def test_a_module_that_was_waited_for_keeps_its_own_loader(watched: Path) -> None:
    assert child(WATCH, "build_info", watched).splitlines()[-1] == "SourceFileLoader SourceFileLoader"


def test_an_action_for_a_module_that_is_there_is_done_at_once(watched: Path) -> None:
    code = "import watched, release_shims._after_import as s; s.after_import('watched', lambda m: print(m.value))"
    assert child(code, "build_info", watched) == "1"
