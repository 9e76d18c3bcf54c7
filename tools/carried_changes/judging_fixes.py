"""Carry upstream's fixes onto the stable releases, and keep the verdicts.

    tools/carried --repo CLONE                        every release, counted and listed
    tools/carried --repo CLONE --release 0.18.0       one release
    tools/carried --repo CLONE --write                and keep docs/carried.json and docs/carried.md

Each change is judged within --limit seconds. Nothing is executed or imported: the code is read from the releases that
`tools/upstream fetch` brought, and from a clone of vllm-ascend with its tags and release branches.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from releases.errors import ReleasesError
from releases.pairs import find
from releases.runner import interpreter
from releases.store import Store, default_root

from ascend_patches.carrying import onto
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.release_code import Code, code_of
from ascend_patches.carrying.results import Result
from ascend_patches.errors import AscendPatchesError

from . import fixes, page
from .page import Verdict
from .workers import judged

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_LIMIT = 120.0
_WORKERS = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, metavar="CLONE", help="a clone of vllm-ascend, bare or not")
    parser.add_argument("--release", choices=fixes.STABLE, help="only this release")
    parser.add_argument("--write", action="store_true", help="keep the verdicts and the page")
    parser.add_argument("--limit", type=float, default=_LIMIT, metavar="SECONDS", help="for one change; default 120")
    parser.add_argument("--jobs", type=int, default=_WORKERS, metavar="N", help="processes that judge; default 2")
    arguments = parser.parse_args()
    try:
        for release in [arguments.release] if arguments.release else fixes.STABLE:
            verdicts = judge(arguments.repo, release, arguments.jobs, arguments.limit)
            print(f"{release}: {dict(Counter(each['verdict'] for each in verdicts))}", flush=True)
            if arguments.write:
                keep(release, verdicts)
    except (AscendPatchesError, ReleasesError) as error:
        print(f"carried: {error}", file=sys.stderr)
        return 1
    return 0


def judge(repo: str, release: str, jobs: int, limit: float) -> list[Verdict]:
    """The verdict of each fix, printed as it is found."""
    code = code_of_release(release)
    with Clone(repo) as clone:
        chosen = [("branch", each) for each in fixes.of_branch(clone, release)]
        chosen += [("main", each) for each in fixes.of_main(clone, release)]
    verdicts = [
        Verdict(number=commit.number, commit=commit.sha[:10], subject=commit.subject, where=where, verdict=page.NO_TIME)
        for where, commit in chosen
    ]
    tasks = [commit.sha for _, commit in chosen]
    for index, answer, seconds in judged(tasks, partial(_open, repo, code), jobs, limit):
        kept = verdicts[index]
        kept.update(answer or {})
        print(
            f"{release} {kept['where']} {kept['commit']} {kept['verdict']} ({seconds:.1f} s): {kept['subject']}",
            flush=True,
        )
    return verdicts


def _open(repo: str, code: Code) -> Callable[[str], Verdict]:
    clone = Clone(repo)
    return lambda commit: _facts(onto.carry(clone.change(commit), code))


def _facts(result: Result) -> Verdict:
    """What is kept of a result: verdicts and names, no code."""
    counted = Counter(each.verdict for each in result.definitions)
    facts = Verdict(verdict=result.verdict, definitions=dict(sorted(counted.items())))
    stopped = next((each for each in result.definitions if each.verdict in ("conflict", "not there", "cannot")), None)
    if stopped is not None:
        facts["at"] = f"{stopped.target.split()[0]}: {stopped.verdict}"
    return facts


def code_of_release(release: str) -> Code:
    store = Store(default_root(), interpreter())
    pair = find(f"vllm-ascend=={release}")
    roots = [str(store.site(each)) for each in pair.upstream]
    return code_of(roots, {"vllm-ascend": pair.ascend, "vllm": pair.vllm}, fixes.PACKAGES)


def keep(release: str, verdicts: list[Verdict]) -> None:
    file = DOCS / "carried.json"
    known: dict[str, list[Verdict]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    known[release] = verdicts
    ordered = {each: known[each] for each in fixes.STABLE if each in known}
    lines = ",\n".join(
        f"{json.dumps(each)}: [\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in ordered[each]) + "\n]"
        for each in ordered
    )
    file.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    (DOCS / "carried.md").write_text(page.written(ordered), encoding="utf-8")
