"""The ascend-patches command.

Exit codes: 0 everything is fine; 1 a patch failed, or strict mode would stop the server, or the command could not do
what it was asked; 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ascend_patches._version import __version__
from ascend_patches.errors import AscendPatchesError

EXIT_CODES = (
    "exit codes: 0 fine; 1 a patch failed, strict mode would stop, or the command could not do its work; 2 usage"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parsed = parser().parse_args(arguments)
    module, _, function = parsed.run.partition(":")
    try:
        code = int(getattr(import_module(f"ascend_patches.commands.{module}"), function)(parsed))
        sys.stdout.flush()
    except AscendPatchesError as error:
        print(f"ascend-patches: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        print(f"ascend-patches: {error}", file=sys.stderr)
        return 1
    return code


def _drop_output() -> None:
    """Let the interpreter find, at its end, somewhere to flush to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The command line: each command names the function that runs it, which is imported only then."""
    top = argparse.ArgumentParser(
        prog="ascend-patches",
        description="Version-gated runtime patches for vLLM on Ascend NPUs.",
        epilog=EXIT_CODES,
    )
    top.add_argument("--version", action="version", version=f"ascend-patches {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: str, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, epilog=EXIT_CODES)
        added.set_defaults(run=run)
        return added

    def with_config(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--config", metavar="FILE", help="settings file to use instead of the one found")
        return added

    def with_json(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    command("install", "start_hooks:install", "start the toolkit with every Python of this environment (a .pth file)")
    command("uninstall", "start_hooks:uninstall", "undo install; before pip uninstall, which leaves the .pth file")
    run = with_config(command("run", "start_hooks:run", "run a command, and all that it starts, with the toolkit"))
    run.add_argument("--strict", action="store_true", help="stop the server where a patch cannot be applied")
    run.add_argument("--report-dir", metavar="DIR", help="let every process leave its report in this directory")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")

    status = with_json(with_config(command("status", "reports:status", "what every patch does here, and why")))
    status.add_argument("--dir", metavar="DIR", help="show the reports that processes left in this directory instead")
    with_json(with_config(command("list", "reports:list_patches", "the patches, and which are on")))
    explain = with_json(with_config(command("explain", "reports:explain", "one patch: what, why, where, and what now")))
    explain.add_argument("name", metavar="PATCH")
    with_json(with_config(command("doctor", "doctor:doctor", "is activation in place, does it reach every process")))

    check = command("check", "upgrade:check", "what every patch would do on a release that is not installed here")
    with_json(with_config(check))
    check.add_argument(
        "releases", nargs="+", metavar="RELEASE", help="vllm==X, vllm-ascend==Y, a wheel, a site-packages"
    )

    verify = command("verify", "verify:verify", "results and costs of the patches that are on, beside upstream's")
    with_json(with_config(verify))
    verify.add_argument("names", nargs="*", metavar="PATCH", help="only these, alone, whether they are on or not")
    verify.add_argument("--emulated", action="store_true", help="on an emulated NPU, where there is no real one")
    verify.add_argument("--model", metavar="DIR", help="whole forwards of this checkpoint's vision encoder instead")
    verify.add_argument("--report", metavar="FILE", help="write all that was found to this file, as JSON")

    init = command("init", "settings_file:init", "write a commented patches.toml")
    init.add_argument("file", nargs="?", default="patches.toml", help="where to (default: patches.toml; - prints it)")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")
    diff = with_config(command("diff", "show_code:diff", "upstream's functions and their replacements, as a diff"))
    diff.add_argument("name", metavar="PATCH")
    diff.add_argument("--variant", help="this variant instead of the one that would be chosen here")
    fingerprint = command("fingerprint", "show_code:fingerprint", "the fingerprint of a target as it is installed here")
    fingerprint.add_argument("target", metavar="PACKAGE.MODULE:CLASS.ATTRIBUTE")
    return top
