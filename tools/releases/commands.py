"""The commands of tools/upstream."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from . import dependencies, proof, runner, shims
from .errors import CannotRunError, ReleasesError
from .pairs import OLDER, PAIRS, Pair, find
from .store import Distribution, Store, default_root

_DESCRIPTION = """\
Fetches the supported releases of vLLM and vllm-ascend into the user's cache, lists them, and runs commands on them.
A release is named as a requirement: vllm==0.18.1 is vLLM alone, vllm-ascend==0.18.0 comes with the vLLM it names.
"""


@dataclass(frozen=True)
class _Row:
    """One line of the table that ``list`` prints."""

    release: str
    vllm: str
    transformers: str
    torch_npu: str
    source: str
    fetched: bool
    runs: bool
    reason: str
    note: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, command = split(words)
    options = _parser().parse_args(words)
    try:
        store = Store(default_root(), runner.interpreter(options.python))
        if options.action == "fetch":
            return _fetch(store, _chosen(options), verify=options.verify)
        if options.action == "list":
            return _list(store, as_json=options.json)
        if options.action == "prove":
            return _prove(store, _chosen(options), options.jobs)
        return _run(store, options.release, command, without=options.without_shim)
    except ReleasesError as error:
        print(f"upstream: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("upstream: stopped; everything that was complete is kept", file=sys.stderr)
        return 130


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """What is for this tool, and the command after the first ``--``."""
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="upstream", description=_DESCRIPTION)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to fetch for and to run with")
    actions = parser.add_subparsers(dest="action", required=True)
    fetch = actions.add_parser("fetch", help="bring releases, and what they need, into the cache")
    _add_releases(fetch)
    fetch.add_argument("--verify", action="store_true", help="check what is there, and bring again what is damaged")
    listing = actions.add_parser("list", help="print the supported releases")
    listing.add_argument("--json", action="store_true")
    prove = actions.add_parser("prove", help="import the modules that patches change, in every release")
    _add_releases(prove)
    prove.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many releases at a time")
    run = actions.add_parser(
        "run", help="run a command on a release", usage="upstream run RELEASE [--without-shim NAME] -- COMMAND ..."
    )
    run.add_argument("release")
    run.add_argument("--without-shim", action="append", default=[], choices=sorted(shims.WANTED), metavar="NAME")
    return parser


def _add_releases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", nargs="*", help="the releases; all of them when none is named")
    parser.add_argument("--all", action="store_true", help="all of them, also when some are named")


def _chosen(options: argparse.Namespace) -> tuple[Pair, ...]:
    if options.all or not options.release:
        return PAIRS
    return tuple(find(name) for name in options.release)


def _fetch(store: Store, pairs: Sequence[Pair], *, verify: bool) -> int:
    wanted = [each for pair in pairs for each in dependencies.needed(pair)]
    if pairs == PAIRS:  # of the older releases only the code is read
        wanted += [each for pair in OLDER for each in pair.upstream]
    if verify:
        _discard_damaged(store, wanted)
    store.fetch(wanted, _say)
    for pair in pairs:
        dependencies.path(pair, store)
    _say(f"complete: {len(pairs)} releases in {store.root}")
    return 0


def _discard_damaged(store: Store, distributions: Sequence[Distribution]) -> None:
    for distribution in dict.fromkeys(distributions):
        damaged = store.damaged(distribution) if store.has(distribution) else []
        if damaged:
            _say(f"{distribution} is damaged ({len(damaged)} files, {damaged[0]} among them); fetching it again")
            store.discard(distribution)


def _list(store: Store, *, as_json: bool) -> int:
    try:
        runner.check(store.interpreter.executable)
        environment = ""
    except CannotRunError as error:
        environment = str(error)
    rows = [_row(pair, store, environment) for pair in PAIRS]
    if as_json:
        print(json.dumps([vars(row) for row in rows], indent=2))
        return 0
    header = ("RELEASE", "VLLM", "TRANSFORMERS", "TORCH_NPU", "FROM", "RUNS", "NOTE")
    lines = [header, *(_cells(row, environment) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if environment:
        print(f"\nNothing runs: {environment}")
    return 0


def _row(pair: Pair, store: Store, environment: str) -> _Row:
    fetched = all(store.has(each) for each in dependencies.needed(pair))
    reason = pair.cannot_run or ("" if fetched else "not fetched") or environment
    return _Row(
        release=pair.name,
        vllm=pair.vllm,
        transformers=pair.transformers,
        torch_npu=pair.torch_npu,
        source=pair.upstream[0].form.name.lower(),
        fetched=fetched,
        runs=not reason,
        reason=reason,
        note=pair.note,
    )


def _cells(row: _Row, environment: str) -> tuple[str, ...]:
    runs = "yes" if row.runs else "no"
    # What is wrong with the environment is wrong for every row: it is said once, below the table.
    note = "; ".join(filter(None, [row.reason if row.reason != environment else "", row.note]))
    return (row.release, row.vllm, row.transformers, row.torch_npu or "-", row.source, runs, note)


def _prove(store: Store, pairs: Sequence[Pair], jobs: int) -> int:
    runner.check(store.interpreter.executable)
    failed = 0
    for pair, failure in proof.prove(pairs, store, jobs):
        failed += bool(failure)
        print(f"{pair.name}: {failure or 'ok'}", flush=True)
    return 1 if failed else 0


def _run(store: Store, name: str, command: Sequence[str], *, without: Sequence[str]) -> int:
    pair = find(name)
    if not command:
        raise CannotRunError(f"no command to run on {pair.name}. Write: upstream run {pair.name} -- COMMAND ...")
    runner.check(store.interpreter.executable)
    environment = runner.environment(pair, store, os.environ, without=without)
    words = runner.command(store, command)
    try:
        os.execvpe(words[0], words, environment)
    except OSError as error:
        raise CannotRunError(f"{words[0]} cannot be started: {error.strerror}") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
