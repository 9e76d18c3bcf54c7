"""The ascend-patches command.

Exit codes: 0 everything is fine; 1 a patch failed, or strict mode would stop the server, or the command could not do
what it was asked; 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from ascend_patches._version import __version__
from ascend_patches.errors import AscendPatchesError, UsageError

EXIT_CODES = (
    "exit codes: 0 fine; 1 a patch failed, strict mode would stop, or the command could not do its work; 2 usage"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from ascend_patches.commands.console import Output

    before = sys.stdout, sys.stderr
    output = Output(sys.stdout) if sys.stdout is not None else None
    if output is not None:
        sys.stdout = output
    if sys.stderr is not None:
        sys.stderr = Output(sys.stderr)
    try:
        parsed = parser().parse_args(arguments)
        _refuse_odd_characters(sys.argv[1:] if arguments is None else arguments)
        module, _, function = parsed.run.partition(":")
        code = int(getattr(import_module(f"ascend_patches.commands.{module}"), function)(parsed))
        if output is not None:
            output.flush()
        return code
    except UsageError as error:
        return _complain(error, 2)
    except AscendPatchesError as error:
        return _complain(error, 1)
    except OSError as error:
        if output is not None:
            output.drop()
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("ASCEND_PATCHES_DEBUG"):
            raise
        return _complain(
            f"{parsed.name} met an error of its own: {type(error).__name__}: {error}. That is a mistake in "
            "ascend-patches: run it again with ASCEND_PATCHES_DEBUG=1 and report the traceback",
            1,
        )
    finally:
        sys.stdout, sys.stderr = before


def _refuse_odd_characters(arguments: Sequence[str]) -> None:
    """Refuse what no name and no path has, before a command asks the system for it."""
    for word in arguments:
        if "\0" in word:
            raise UsageError("an argument holds a null byte, which no name and no path has")
        try:
            os.fsencode(word)
        except UnicodeEncodeError:
            raise UsageError(f"the argument {word!r} holds a character that no path of this system has") from None


def _complain(what: object, code: int) -> int:
    if sys.stderr is not None:
        print(f"ascend-patches: {what}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """A command line whose mistakes are answered with the nearest right name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        from ascend_patches.commands.names import nearest

        given = re.search(r"invalid choice: '(.*?)'|unrecognized arguments: (--?[\w-]+)", message, re.DOTALL)
        if given is not None and given[1] is not None:
            commands = next((action.choices for action in self._actions if action.choices), None) or ()
            message = re.sub(r" ?\(choose from .*\)", "", message, flags=re.DOTALL)
            message += nearest(given[1], map(str, commands)) or f" (choose from {', '.join(map(str, commands))})"
        elif given is not None:
            message += nearest(given[2], _options(self))
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {message}\n")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and of its commands; an unknown option is reported by the parser above."""
    found: list[str] = []
    for action in parser._actions:
        found += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            found += [option for each in action.choices.values() for option in _options(each)]
    return found


_EXAMPLES = {
    "": (
        "ascend-patches status                                  what every patch does here",
        "ascend-patches check vllm-ascend==0.23.0               before an upgrade",
        "ascend-patches compare here vllm-ascend==0.23.0        what the upgrade changes",
        "ascend-patches run -- vllm serve MODEL                 serve with the patches",
        "ASCEND_PATCHES=off vllm serve MODEL                    serve without them",
    ),
    "install": ("ascend-patches install",),
    "uninstall": ("ascend-patches uninstall && pip uninstall ascend-patches",),
    "run": (
        "ascend-patches run -- vllm serve MODEL",
        "ascend-patches run --strict --report-dir /run/ap -- python serve.py",
    ),
    "status": ("ascend-patches status", "ascend-patches status --dir /run/ap --json"),
    "list": ("ascend-patches list", "ascend-patches list --names"),
    "explain": ("ascend-patches explain rotary-embedding", "ascend-patches explain rotary-embedding --all"),
    "doctor": ("ascend-patches doctor", "ascend-patches doctor --json"),
    "report": ("ascend-patches report", "ascend-patches report --dir /run/ap"),
    "check": (
        "ascend-patches check vllm-ascend==0.23.0               its vLLM is filled in",
        "ascend-patches check vllm==0.26.0 vllm-ascend==0.26.0rc1",
        "ascend-patches check --wheels /mnt/wheels vllm-ascend==0.30.0rc2      without a network",
        "ascend-patches check /opt/new/lib/python3.11/site-packages",
    ),
    "carry": (
        "ascend-patches carry 10302.patch --onto vllm-ascend==0.18.0 --output carried-10302",
        "ascend-patches carry --repo ~/vllm-ascend 0a1b2c3d --onto vllm-ascend==0.18.0 --json",
        "ascend-patches carry --repo ~/vllm-ascend 0a1b2c3d --onto vllm-ascend==0.18.0 --prove    with its own tests",
        "ascend-patches carry --from vllm-ascend==0.19.1rc1 vllm_ascend.utils:enable_sp --onto vllm-ascend==0.18.0",
    ),
    "compare": (
        "ascend-patches compare vllm-ascend==0.18.0 vllm-ascend==0.23.0",
        "ascend-patches compare here vllm-ascend==0.30.0rc2     from what is installed",
        "ascend-patches compare vllm==0.18.1 vllm==0.23.0,vllm-ascend==0.23.0",
    ),
    "verify": (
        "ascend-patches verify --emulated",
        "ascend-patches verify --model /models/Qwen3-VL-8B --report verify.json",
    ),
    "bench": (
        "ascend-patches bench --model /models/Qwen3-VL-8B",
        "ascend-patches bench --model /models/Qwen3-VL-8B --images 1 8 --size 1024x768 --json",
        "ascend-patches bench rotary-embedding --model /models/Qwen3-VL-8B",
    ),
    "init": ("ascend-patches init", "ascend-patches init /etc/ascend_patches/patches.toml", "ascend-patches init -"),
    "diff": ("ascend-patches diff rotary-embedding", "ascend-patches diff rotary-embedding --variant vllm-0.13"),
    "fingerprint": ("ascend-patches fingerprint vllm.envs:__getattr__",),
    "completion": (
        "source <(ascend-patches completion bash)               in ~/.bashrc",
        "source <(ascend-patches completion zsh)                in ~/.zshrc, after compinit",
        "ascend-patches completion fish | source                in ~/.config/fish/config.fish",
    ),
}


_OWN_EXIT_CODES = {
    "carry": (
        "of carry: 0 carried, or there already; 1 anything else. With --prove 0 only where a test of the change fails\n"
        "without the patch and passes with it, none passes without it and fails with it, and the patch was in place"
    ),
}


def _epilog(name: str) -> str:
    examples = "".join(f"  {example}\n" for example in _EXAMPLES.get(name, ()))
    own = f"\n{_OWN_EXIT_CODES[name]}" if name in _OWN_EXIT_CODES else ""
    return (f"examples:\n{examples}\n" if examples else "") + EXIT_CODES + own


def _add_carry(carry: argparse.ArgumentParser) -> None:
    carry.add_argument("change", nargs="+", metavar="CHANGE", help="a .patch or .diff file, or -; a commit with --repo")
    carry.add_argument("--onto", nargs="+", metavar="RELEASE", help="as check takes them (default: what is installed)")
    carry.add_argument("--repo", metavar="CLONE", help="a clone of upstream, bare or not; CHANGE is COMMIT or OLD..NEW")
    carry.add_argument(
        "--from", dest="later", metavar="RELEASE", help="a later release; each CHANGE is a target or a module in it"
    )
    carry.add_argument("--output", metavar="DIR", help="write the patch into this folder, which must not exist yet")
    carry.add_argument(
        "--name", dest="patch_name", metavar="NAME", help="the patch's name (default: made from the change's number)"
    )
    carry.add_argument("--partial", action="store_true", help="write what can be carried where something cannot")
    carry.add_argument("--reviewed", action="store_true", help="write what asks for a review: it has been looked at")
    carry.add_argument(
        "--with-prerequisites",
        type=int,
        default=0,
        metavar="N",
        help="where it needs them, carry up to N earlier changes of the clone first; features among them are marked "
        "(default: none)",
    )
    carry.add_argument(
        "--prove",
        action="store_true",
        help="run the change's own tests on the release, without the patch and with it, on the emulated NPU. Without "
        "this nothing of the change is executed; with it its tests and its code are, in processes of their own",
    )
    carry.add_argument("--wheels", metavar="DIR", help="take releases from this folder; no network is used")


def parser() -> argparse.ArgumentParser:
    """The command line: each command names the function that runs it, which is imported only then."""
    top = _Parser(
        prog="ascend-patches", description="Version-gated runtime patches for vLLM on Ascend NPUs.", epilog=_epilog("")
    )
    top.add_argument("--version", action="version", version=f"ascend-patches {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: str, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about, epilog=_epilog(name))
        added.set_defaults(run=run, name=name)
        return added

    def with_config(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--config", metavar="FILE", help="settings file to use instead of the one found")
        return added

    def with_json(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    def with_wheels(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--wheels", metavar="DIR", help="take releases from this folder; no network is used")
        return with_json(with_config(added))

    command("install", "start_hooks:install", "start the toolkit with every Python of this environment (a .pth file)")
    command("uninstall", "start_hooks:uninstall", "undo install; before pip uninstall, which leaves the .pth file")
    run = with_config(command("run", "start_hooks:run", "run a command, and all that it starts, with the toolkit"))
    run.add_argument("--strict", action="store_true", help="stop the server where a patch cannot be applied")
    run.add_argument("--report-dir", metavar="DIR", help="let every process leave its report in this directory")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")

    status = with_json(with_config(command("status", "reports:status", "what every patch does here, and why")))
    status.add_argument("--dir", metavar="DIR", help="show the reports that processes left in this directory instead")
    listed = with_json(with_config(command("list", "reports:list_patches", "the patches, and which are on")))
    listed.add_argument("--names", action="store_true", help="print the names only, one a line")
    explain = with_json(
        with_config(command("explain", "explanation:explain", "one patch: what happens here, what, why"))
    )
    explain.add_argument("patch", metavar="PATCH")
    explain.add_argument("--all", action="store_true", help="every variant, target and measurement as well")
    with_json(with_config(command("doctor", "doctor:doctor", "is activation in place, does it reach every process")))

    issue = with_json(with_config(command("report", "issue_report:issue_report", "all that an issue needs, masked")))
    issue.add_argument("--dir", metavar="DIR", help="with the reports that processes left in this directory")

    check = with_wheels(command("check", "upgrade:check", "what every patch would do on a release, before an upgrade"))
    check.add_argument("releases", nargs="+", metavar="RELEASE", help="vllm-ascend==Y, vllm==X, a wheel, a folder")
    compare = with_wheels(command("compare", "upgrade:compare", "what changes from one release to another"))
    compare.add_argument("old", metavar="OLD", help="here, a release as check takes it, or several joined by commas")
    compare.add_argument("new", metavar="NEW", help="the same")

    _add_carry(with_json(command("carry", "carry:carry", "an upstream change as a patch for the release you run")))

    verify = command("verify", "verify:verify", "results and costs of the patches that are on, beside upstream's")
    with_json(with_config(verify))
    verify.add_argument("names", nargs="*", metavar="PATCH", help="only these, alone, whether they are on or not")
    verify.add_argument("--emulated", action="store_true", help="on an emulated NPU, where there is no real one")
    verify.add_argument("--model", metavar="DIR", help="whole forwards of this checkpoint's vision encoder instead")
    verify.add_argument("--report", metavar="FILE", help="write all that was found to this file, as JSON")

    bench = command("bench", "bench:bench", "what a forward of your model's vision encoder takes, upstream and patched")
    with_json(with_config(bench))
    bench.add_argument("names", nargs="*", metavar="PATCH", help="only these, alone, whether they are on or not")
    bench.add_argument("--model", metavar="DIR", required=True, help="a checkpoint, or a folder with its config.json")
    bench.add_argument("--images", nargs="+", type=int, default=[1, 4, 16], help="of a forward (default: 1 4 16)")
    bench.add_argument("--frames", type=int, default=16, help="of the video; 0: no video (default: %(default)s)")
    bench.add_argument("--size", default="448x448", metavar="WIDTHxHEIGHT", help="in pixels (default: %(default)s)")
    bench.add_argument("--turns", type=int, default=20, help="of each side (default: %(default)s)")

    init = command("init", "settings_file:init", "write a commented patches.toml, with a schema for editors")
    init.add_argument("file", nargs="?", default="patches.toml", help="where to (default: patches.toml; - prints it)")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")
    diff = with_config(command("diff", "show_code:diff", "upstream's functions and their replacements, as a diff"))
    diff.add_argument("patch", metavar="PATCH")
    diff.add_argument("--variant", help="this variant instead of the one that would be chosen here")
    fingerprint = command("fingerprint", "show_code:fingerprint", "the fingerprint of a target as it is installed here")
    fingerprint.add_argument("target", metavar="PACKAGE.MODULE:CLASS.ATTRIBUTE")
    completion = command("completion", "completion:completion", "print a completion script for a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return top
