"""install, uninstall, run: the toolkit at interpreter start."""

from __future__ import annotations

import argparse
import os
import sys

from ascend_patches import catalogue
from ascend_patches.starting import start_hook


def install(arguments: argparse.Namespace) -> int:
    roots = catalogue.known().roots()
    print(start_hook.install(roots))
    how = start_hook.started_in_child()
    if how is None:
        print("but a fresh Python does not start the toolkit; see: ascend-patches doctor", file=sys.stderr)
        return 1
    others = [root for root in roots if root not in ("vllm", "vllm_ascend")]
    waits_for = f"vLLM and {', '.join(others)}" if others else "vLLM"
    where = f"every Python of {sys.prefix}"
    print(f"{where} now waits for {waits_for} (started by {how}); undo with: ascend-patches uninstall")
    return 0


def uninstall(arguments: argparse.Namespace) -> int:
    print(start_hook.uninstall())
    return 0


def run(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        print("ascend-patches run: nothing to run; usage: ascend-patches run -- COMMAND", file=sys.stderr)
        return 2
    environ = start_hook.environment_for_children(catalogue.known().roots(), dict(os.environ))
    if arguments.config is not None:
        environ["ASCEND_PATCHES_CONFIG"] = os.path.abspath(arguments.config)
    if arguments.strict:
        environ["ASCEND_PATCHES"] = "strict"
    if arguments.report_dir is not None:
        environ["ASCEND_PATCHES_REPORT_DIR"] = os.path.abspath(arguments.report_dir)
    try:
        os.execvpe(command[0], command, environ)
    except OSError as error:
        print(f"ascend-patches run: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
