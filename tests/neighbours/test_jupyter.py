"""In a Jupyter kernel: patches are on in the cells, and can be put on and undone from there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from neighbours.processes import PATIENCE, environ_of_a_service
from support import Environment, World

with warnings.catch_warnings():
    # It warns of its own next version.
    warnings.simplefilter("ignore")
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

Cell = Callable[[str], str]


@pytest.fixture
def kernel(installed: Environment, greeting: World, tmp_path: Path) -> Iterator[Callable[[], Cell]]:
    """Starts a kernel of the environment; what it gives runs a cell and answers with what that printed."""
    kernels = tmp_path / "kernels"
    (kernels / "ours").mkdir(parents=True)
    argv = [str(installed.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "ours", "language": "python"}
    (kernels / "ours" / "kernel.json").write_text(json.dumps(spec))
    manager = KernelManager(kernel_name="ours", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(kernels)]))
    env = {**environ_of_a_service(), "PYTHONPATH": str(greeting.folder), "IPYTHONDIR": str(tmp_path / "ipython")}

    def start() -> Cell:
        manager.start_kernel(env=env)
        client = manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)

        def cell(code: str) -> str:
            printed: list[str] = []
            reply = client.execute_interactive(
                code, timeout=PATIENCE, output_hook=lambda message: printed.append(message["content"].get("text", ""))
            )
            assert reply["content"]["status"] == "ok", reply["content"]
            return "".join(printed)

        return cell

    yield start
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


GREET = "import vllm.engine; print(vllm.engine.greet('you'), end='')"


def test_a_start_hook_reaches_a_kernel(installed: Environment, kernel: Callable[[], Cell]) -> None:
    installed.install_hook()
    assert kernel()(GREET) == "patched you!"


def test_a_cell_can_apply_the_patches_to_what_is_imported(kernel: Callable[[], Cell]) -> None:
    cell = kernel()
    assert cell(GREET) == "upstream you!"
    cell("import ascend_patches; ascend_patches.apply_patches()")
    assert cell(GREET) == "patched you!"


def test_a_cell_can_undo_them(kernel: Callable[[], Cell]) -> None:
    cell = kernel()
    cell(f"import ascend_patches; ascend_patches.apply_patches(); {GREET}")
    cell("ascend_patches.revert_patches()")
    assert cell(GREET) == "upstream you!"


def test_a_complaint_is_seen_below_the_cell_that_caused_it(kernel: Callable[[], Cell], greeting: World) -> None:
    settings = greeting.settings("nonsense = 1\n")
    said = kernel()(f"import ascend_patches; ascend_patches.apply_patches({settings!r});")
    assert "ascend_patches: " in said
    assert "nonsense" in said
