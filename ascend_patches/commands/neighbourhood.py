"""Other software that changes vLLM in the same process: which is here, where it meets our targets, what to do.

Nothing is imported to find out: distributions, start files and sources are read.
"""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ascend_patches.declaring.patch import Patch
from ascend_patches.starting import start_hook
from ascend_patches.upstream import distributions, fingerprints
from ascend_patches.upstream.environment import here

_MOST_FILES = 4000
_LARGEST = 1_000_000


class Neighbour(NamedTuple):
    """Software that is known to change vLLM or vllm-ascend while they run."""

    name: str
    package: str
    how: str
    advice: str
    below: str = ""
    """The folder of the package that has its patches, where it is known."""


NEIGHBOURS = (
    Neighbour(
        "vllm-ascend's own patches",
        "vllm_ascend",
        "replaces functions of vLLM when its platform and its worker start",
        "their order does not matter: a patch of ours goes on code that they have not changed, or is skipped",
        "patch",
    ),
    Neighbour(
        "UCM",
        "ucm",
        "replaces functions of vLLM from an import hook of its own",
        "start UCM first; where a patch shows as overwritten in status, switch off one of the two",
    ),
    Neighbour(
        "ascend_vllm",
        "ascend_vllm",
        "replaces parts of vLLM and vllm-ascend from a vLLM plugin",
        "look at status after the model is loaded; where a patch shows as overwritten, switch it off",
    ),
    Neighbour(
        "verl",
        "verl",
        "replaces functions of vLLM and vllm-ascend in its rollout workers",
        "use the start hook, so that Ray's workers have the patches before verl imports vLLM",
    ),
    Neighbour(
        "ms-swift",
        "swift",
        "replaces functions of vLLM and of models when it makes an engine",
        "import order does not matter; look at status after the engine is made",
    ),
    Neighbour(
        "ddtrace",
        "ddtrace",
        "wraps functions of vLLM, from a sitecustomize of its own",
        "start with ascend-patches install: its .pth works beside ddtrace-run",
    ),
    Neighbour(
        "OpenTelemetry",
        "opentelemetry",
        "opentelemetry-instrument hides the sitecustomize behind its own",
        "nothing: our entry point for it starts the toolkit as well",
    ),
)


class Met(NamedTuple):
    """A place where other software replaces a target of ours."""

    patch: str
    target: str
    file: str
    line: int


def present() -> Iterator[tuple[Neighbour, str]]:
    """The neighbours that are installed here, each with its version or where it lies."""
    for neighbour in NEIGHBOURS:
        folder = distributions.locate(neighbour.package)
        if folder is not None:
            found = here.installed(neighbour.package.replace("_", "-"))
            yield neighbour, str(found) if found is not None else folder


def meetings(neighbour: Neighbour, patches: Iterable[Patch]) -> list[Met]:
    """The statements of a neighbour that put something in the place of a target of ours."""
    folder = distributions.locate(neighbour.package)
    if folder is None or not os.path.isdir(folder):
        return []
    targets = {
        ".".join(target.partition(":")[2].split(".")[-2:]): (patch.name, str(target))
        for patch in patches
        for variant in patch.variants
        for target in variant.targets
    }
    found = []
    for file in _sources(os.path.join(folder, neighbour.below)):
        for name, line in _replaced(file, targets):
            found.append(Met(*targets[name], file, line))
    return found


def other_plugins() -> list[str]:
    """What else vLLM loads into every process, in the order in which it does."""
    return [
        f"{name} (of {distribution})"
        for distribution, name, value in distributions.entry_points("vllm.general_plugins")
        if "ascend_patches" not in value
    ]


def other_start_files() -> list[str]:
    """The .pth files of this environment that run code at interpreter start, beside ours."""
    folder = sysconfig.get_path("purelib")
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return []
    return [entry for entry in entries if entry.endswith(".pth") and _runs_code(os.path.join(folder, entry))]


def _runs_code(file: str) -> bool:
    # Files that setuptools and pip write themselves are not neighbours.
    if os.path.basename(file).startswith((start_hook.PTH_NAME, "distutils-precedence", "__editable__")):
        return False
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return any(line.startswith(("import ", "import\t")) for line in stream)
    except OSError:
        return False


def _sources(folder: str) -> Iterator[str]:
    count = 0
    for place, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = os.path.join(place, file)
            if file.endswith(".py") and os.path.isfile(path) and os.path.getsize(path) <= _LARGEST:
                count += 1
                if count > _MOST_FILES:
                    return
                yield path


def _replaced(file: str, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Which of some ``Class.attribute`` a source file assigns to, and where."""
    try:
        source = fingerprints.read_source(file)
        if not any(name.rpartition(".")[2] in source for name in names):
            return
        tree = fingerprints.parse(source)
    except (OSError, SyntaxError, ValueError, LookupError):
        return
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if not isinstance(node, ast.Assign | ast.Call):
            continue
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node.func, ast.Name) and node.func.id == "setattr":
            first, name = (node.args[0], node.args[1]) if len(node.args) == 3 else (None, None)
            if first is not None and isinstance(name, ast.Constant):
                targets = [ast.Attribute(first, str(name.value), ast.Store())]
        for target in targets:
            written = ".".join(ast.unparse(target).split(".")[-2:]) if isinstance(target, ast.Attribute) else ""
            if written in names:
                yield written, node.lineno
