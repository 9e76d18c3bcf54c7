"""Installing the emulated device: once per process, and never where it does not fit. Each test has its own process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def output(run_python: Run, code: str) -> str:
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, emulated_npu; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "False"


def test_public_names_are_all_there(run_python: Run) -> None:
    code = """
        import emulated_npu
        print([name for name in emulated_npu.__all__ if not hasattr(emulated_npu, name)])
    """
    assert output(run_python, code) == "[]"


def test_unknown_public_name_is_an_attribute_error(run_python: Run) -> None:
    code = """
        import emulated_npu
        try:
            emulated_npu.levitate
        except AttributeError as error:
            print(error)
    """
    assert "has no attribute 'levitate'" in output(run_python, code)


def test_importing_does_not_install(run_python: Run) -> None:
    code = """
        import torch
        from emulated_npu import record, installed
        print(installed(), hasattr(torch, "npu"))
    """
    assert output(run_python, code) == "False False"


def test_installing_makes_the_device(run_python: Run) -> None:
    code = """
        import emulated_npu
        emulated_npu.install()
        import torch
        print(torch.ones(2, device="npu").device, emulated_npu.installed())
    """
    assert output(run_python, code) == "npu:0 True"


def test_installing_twice_is_installing_once(run_python: Run) -> None:
    code = """
        import emulated_npu
        import torch
        emulated_npu.install()
        tensor, names = torch.ones(2, device="npu"), (torch.empty, torch.Stream, torch.npu)
        emulated_npu.install()
        print(tensor.sum().item(), names == (torch.empty, torch.Stream, torch.npu))
    """
    assert output(run_python, code) == "2.0 True"


def test_installing_needs_no_other_package_than_torch(run_python: Run) -> None:
    code = """
        import sys
        import torch
        for name in ("numpy", "packaging", "wrapt", "einops", "vllm", "transformers"):
            sys.modules[name] = None  # importing it fails
        import emulated_npu
        emulated_npu.install()
        with emulated_npu.record() as log:
            torch.ones(2, device="npu").cpu()
        print(len(log.device_to_host))
    """
    assert output(run_python, code) == "1"


CPU_AS_BEFORE = """
    import torch
    import emulated_npu
    emulated_npu.install()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, generator=generator)
    p = torch.nn.Parameter(torch.ones(2))
    p.data = torch.zeros(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = torch.ones(2, 2) @ torch.ones(2, 2)
    print(x.device, p.tolist(), low.dtype, torch.UntypedStorage(3).device, torch.empty(2).is_pinned())
"""


def test_cpu_tensors_work_as_before(run_python: Run) -> None:
    assert output(run_python, CPU_AS_BEFORE) == "cpu [0.0, 0.0] torch.bfloat16 cpu False"


@pytest.mark.parametrize("release", ["2.9.1", "2.7.1+cpu", "1.13.0"])
def test_older_torch_is_refused_with_what_to_do(run_python: Run, release: str) -> None:
    code = f"""
        import torch
        torch.__version__ = {release!r}
        import emulated_npu
        try:
            emulated_npu.install()
        except emulated_npu.TorchTooOldError as error:
            print(error)
    """
    text = output(run_python, code)
    assert f"this is torch {release}" in text
    assert "Upgrade torch" in text


def test_loaded_real_torch_npu_is_refused(run_python: Run) -> None:
    code = """
        import sys, types
        sys.modules["torch_npu"] = types.ModuleType("torch_npu")
        import emulated_npu
        try:
            emulated_npu.install()
        except emulated_npu.RealTorchNpuError as error:
            print(error)
    """
    assert "TORCH_DEVICE_BACKEND_AUTOLOAD=0" in output(run_python, code)


@pytest.mark.parametrize("name", ["hpu2", "npu"])
def test_backend_that_came_first_is_refused(run_python: Run, name: str) -> None:
    code = f"""
        import torch
        torch.utils.rename_privateuse1_backend({name!r})
        import emulated_npu
        try:
            emulated_npu.install()
        except emulated_npu.BackendTakenError as error:
            print(error)
    """
    assert f"another backend, {name!r}, took the one place" in output(run_python, code)


def test_refused_installation_leaves_torch_alone(run_python: Run) -> None:
    code = """
        import torch
        torch.utils.rename_privateuse1_backend("other")
        before = torch.empty, torch.Stream, torch.Generator
        import emulated_npu
        try:
            emulated_npu.install()
        except emulated_npu.BackendTakenError:
            print(before == (torch.empty, torch.Stream, torch.Generator), emulated_npu.installed())
    """
    assert output(run_python, code) == "True False"


def test_operator_of_another_library_falls_back_to_the_host_and_is_counted(run_python: Run) -> None:
    code = """
        import torch
        import emulated_npu
        emulated_npu.install()
        library = torch.library.Library("other", "DEF")
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CPU")
        x = torch.ones(2, device="npu")
        with emulated_npu.record() as log:
            y = torch.ops.other.twice(x)
        print(y.device, y.tolist(), len(log.device_to_host), len(log.host_to_device), dict(log.by_operator))
    """
    assert output(run_python, code) == "npu:0 [2.0, 2.0] 1 1 {'other::twice': 1}"


def test_operator_without_any_kernel_is_refused(run_python: Run) -> None:
    code = """
        import torch
        import emulated_npu
        emulated_npu.install()
        library = torch.library.Library("other", "DEF")
        library.define("nowhere(Tensor x) -> Tensor")
        try:
            torch.ops.other.nowhere(torch.ones(2, device="npu"))
        except NotImplementedError as error:
            print(error)
    """
    assert output(run_python, code).startswith("Could not run 'other::nowhere' with arguments from the 'npu' backend")
