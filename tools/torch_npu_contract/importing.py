"""Imports a real torch_npu in a process of its own, on stand-ins for CANN, and asks torch for its schemas."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from . import stubs
from .errors import CannotCheckError

_DUMP = """
import json, sys, torch, torch_npu
schemas = {}
for schema in torch._C._jit_get_all_schemas():
    if schema.name.partition("::")[0] in ("npu", "atb"):
        name = schema.name + ("." + schema.overload_name if schema.overload_name else "")
        schemas[name] = str(schema).partition("::")[2]
with open(sys.argv[1], "w") as file:
    json.dump({"version": torch_npu.__version__, "schemas": schemas}, file)
"""


class Torch(NamedTuple):
    """The torch of an interpreter."""

    version: str
    folder: Path

    def pairs_with(self, torch_npu: str) -> bool:
        """torch_npu is built for the torch of the same three numbers, whatever stands behind them."""
        return self.version.partition("+")[0].split(".")[:3] == torch_npu.split(".")[:3]


class Imported(NamedTuple):
    """The schemas that torch had after the import."""

    schemas: dict[str, str]
    stubs: stubs.Stubs


def torch_of(python: str) -> Torch | None:
    """The torch that the interpreter would import, found without importing it."""
    code = (
        "import importlib.metadata as m, importlib.util as u; "
        "print(m.version('torch')); print(u.find_spec('torch').submodule_search_locations[0])"
    )
    try:
        ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotCheckError(f"{python} cannot be run: {error.strerror}") from None
    if ran.returncode != 0:
        return None
    version, folder = ran.stdout.splitlines()
    return Torch(version, Path(folder))


def import_it(release: str, unpacked: Path, python: str, torch: Torch) -> Imported:
    """Import the unpacked release under that interpreter's torch."""
    package = unpacked / "torch_npu"
    # torchair has further libraries, which it loads when a graph is compiled.
    libraries = [*package.glob("_C*.so"), *(package / "lib").glob("*.so*")]
    present = sorted((torch.folder / "lib").glob("*.so*"))
    with tempfile.TemporaryDirectory() as folder:
        made = stubs.generate(libraries, present, Path(folder))
        answer = Path(folder) / "schemas.json"
        ran = subprocess.run(
            [python, "-c", _DUMP, answer],
            env=_environment(Path(folder), unpacked),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0 or not answer.is_file():
            raise CannotCheckError(
                f"torch_npu {release} could not be imported under torch {torch.version} (status {ran.returncode}). "
                f"Read it instead: --way read. It said:\n{ran.stderr.strip()[-2000:]}"
            )
        content = json.loads(answer.read_text(encoding="utf-8"))
    if content["version"].partition("+")[0] != release:
        raise CannotCheckError(
            f"torch_npu {content['version']} was imported, not {release}: another one is in the way."
        )
    return Imported(content["schemas"], made)


def _environment(stand_ins: Path, unpacked: Path) -> dict[str, str]:
    """This environment, with both in front."""
    fronts = {"LD_LIBRARY_PATH": stand_ins, "PYTHONPATH": unpacked}
    return {
        **os.environ,
        **{name: os.pathsep.join(filter(None, (str(front), os.environ.get(name)))) for name, front in fronts.items()},
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    }
