"""The ways to have the toolkit started with the interpreter: a .pth file, or a folder on PYTHONPATH."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable

from ascend_patches.basics.files import write_whole
from ascend_patches.errors import InstallError

ROOTS = ("vllm", "vllm_ascend")
START_MODULE = "ascend_patches_start"
PTH_NAME = "ascend_patches.pth"
_MARK = "# ascend-patches start hook"


def pth_path() -> str:
    """Where the .pth file of this environment belongs."""
    return os.path.join(sysconfig.get_path("purelib"), PTH_NAME)


def pth_text(roots: Iterable[str]) -> str:
    """The content of the .pth file: one comment, and one line that waits for the roots.

    Every start of an interpreter compiles that line, so it is short; where the package has gone without the file, the
    start goes on in silence.
    """
    more = sorted(set(roots) - set(ROOTS))
    add = f"; {START_MODULE}.roots += {more!r}" if more else ""
    body = f"try: import {START_MODULE}{add}\nexcept ModuleNotFoundError: pass"
    comment = f"{_MARK}; remove it with: ascend-patches uninstall (if that is gone, delete this file)"
    return f"{comment}\nimport sys; exec({body!r})\n"


def roots_in(pth: str) -> tuple[str, ...]:
    """The packages that a .pth file of ours waits for."""
    import ast
    import re

    more = re.search(r"roots \+= (\[[^\]]*\])", pth.replace("\\'", "'"))
    return (*ROOTS, *(ast.literal_eval(more[1]) if more is not None else ()))


def unwaited(roots: Iterable[str]) -> tuple[str, ...]:
    """Packages of patches for which nothing starts the toolkit: no start hook, or one from before they were added.

    vLLM and vllm-ascend are not among them: vLLM's own plugin starts the toolkit as well.
    """
    if "sitecustomize" in os.environ.get("PYTHONPATH", "") and sitecustomize_folder() in os.environ["PYTHONPATH"]:
        waiting = {*ROOTS, *os.environ.get("ASCEND_PATCHES_ROOTS", "").split(",")}
    else:
        waiting = set(ROOTS)
    try:
        present = installed_pth()
    except InstallError:
        present = None
    if present is not None:
        waiting |= set(roots_in(present))
    return tuple(sorted(set(roots) - waiting))


def installed_pth() -> str | None:
    """The text of the .pth file in place, or None; InstallError if it is another program's."""
    path = pth_path()
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InstallError(f"{path}: cannot be read: {error}") from None
    if not text.startswith(_MARK):
        raise InstallError(f"{path}: is not a start hook of this toolkit; it is left alone. Move it away first.")
    return text


def install(roots: Iterable[str]) -> str:
    """Put the .pth file in place, whole or not at all; says what was done."""
    path, wanted = pth_path(), pth_text(roots)
    present = installed_pth()
    if present == wanted:
        return f"{path} is in place already"
    try:
        write_whole(path, wanted.encode(), 0o644)
    except OSError as error:
        raise InstallError(
            f"{path}: cannot be written: {error.strerror or error}. "
            "Use an environment that is yours, or start with: ascend-patches run -- COMMAND"
        ) from None
    return f"{path} {'replaced' if present is not None else 'written'}"


def uninstall() -> str:
    """Take the .pth file away, if it is ours; says what was done."""
    path = pth_path()
    if installed_pth() is None:
        return f"{path} is not there; nothing to do"
    try:
        os.unlink(path)
    except OSError as error:
        raise InstallError(f"{path}: cannot be removed: {error.strerror or error}") from None
    return f"{path} removed"


def sitecustomize_folder() -> str:
    """The folder that starts the toolkit when it is on PYTHONPATH."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "sitecustomize")


def environment_for_children(roots: Iterable[str], environ: dict[str, str]) -> dict[str, str]:
    """Environment variables under which every Python started begins with the toolkit."""
    environ = dict(environ)
    path = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    folder = sitecustomize_folder()
    environ["PYTHONPATH"] = os.pathsep.join([folder, *(entry for entry in path if entry != folder)])
    more = sorted(set(roots) - set(ROOTS))
    if more:
        environ["ASCEND_PATCHES_ROOTS"] = ",".join(more)
    return environ


def started_in_child(generations: int = 1) -> str | None:
    """How a fresh interpreter of this environment, or its child, starts the toolkit; None: not at all."""
    import subprocess

    code = (
        "import sys; waiting = [f.__name__ for f in sys.meta_path if hasattr(f, 'run_next_sitecustomize')];"
        f"print({{'sitecustomize': 'sitecustomize', {START_MODULE!r}: '.pth'}}[waiting[0]] if waiting else '')"
    )
    for _ in range(generations - 1):
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    result = subprocess.run([sys.executable, "-c", code], cwd=os.sep, capture_output=True, text=True, timeout=60)
    return result.stdout.strip() or None
