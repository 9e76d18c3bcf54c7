"""Carry upstream's fixes onto the stable releases, and keep the verdicts.

    tools/carried --repo CLONE                        every release, counted and listed
    tools/carried --repo CLONE --release 0.18.0       one release
    tools/carried --repo CLONE --write                and keep docs/carried.json and docs/carried.md
    tools/carried --repo CLONE --write --only COMMIT  judge some again, and leave the other verdicts as they are
    tools/carried --repo CLONE --prove                and put each that is carried in place on its release

With --prove every carried patch is written, found, applied on the emulated NPU with all its names resolved, compared
with upstream's own difference, and reverted to the letter.

Each change is judged within --limit seconds. Without --prove nothing is executed or imported: the code is read from
the releases that `tools/upstream fetch` brought, and from a clone of vllm-ascend with its tags and release branches.
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

from . import fixes, page, proving
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
    parser.add_argument("--prove", action="store_true", help="put what is carried in place on the release as well")
    parser.add_argument("--only", nargs="+", default=[], metavar="COMMIT", help="only these changes")
    parser.add_argument("--limit", type=float, default=_LIMIT, metavar="SECONDS", help="for one change; default 120")
    parser.add_argument("--jobs", type=int, default=_WORKERS, metavar="N", help="processes that judge; default 2")
    arguments = parser.parse_args()
    try:
        wrong = 0
        for release in [arguments.release] if arguments.release else fixes.STABLE:
            verdicts, patches = judge(arguments.repo, release, arguments.only, arguments.jobs, arguments.limit)
            for where in ("branch", "main"):
                counted = Counter(each["verdict"] for each in verdicts if each["where"] == where)
                print(f"{release}, {where}: {dict(counted)}", flush=True)
            if arguments.write:
                keep(release, verdicts)
            if arguments.prove:
                wrong += _prove(release, patches)
    except (AscendPatchesError, ReleasesError) as error:
        print(f"carried: {error}", file=sys.stderr)
        return 1
    return 1 if wrong else 0


def _prove(release: str, patches: dict[str, proving.Written]) -> int:
    """How many of a release's carried changes are not proved to be in place and to go again."""
    found = proving.prove(release, patches)
    for name, problems in found.items():
        print(f"{release} {name}: {'in place, and reverted' if not problems else '; '.join(problems)}", flush=True)
    bad = sum(bool(problems) for problems in found.values())
    print(f"{release}: {len(found) - bad} of {len(found)} carried changes are in place on it and reverted", flush=True)
    return bad


def judge(
    repo: str, release: str, only: list[str], jobs: int, limit: float
) -> tuple[list[Verdict], dict[str, proving.Written]]:
    """The verdict of each fix, printed as it is found, and what is written of each that is carried."""
    code = code_of_release(release)
    with Clone(repo) as clone:
        chosen = [("branch", each) for each in fixes.of_branch(clone, release)]
        chosen += [("main", each) for each in fixes.of_main(clone, release)]
    chosen = [(where, each) for where, each in chosen if not only or each.sha.startswith(tuple(only))]
    verdicts = [
        Verdict(number=commit.number, commit=commit.sha[:10], subject=commit.subject, where=where, verdict=page.NO_TIME)
        for where, commit in chosen
    ]
    # What is read of the release before the workers start is read once.
    code.with_word("vllm")
    patches: dict[str, proving.Written] = {}
    tasks = [commit.sha for _, commit in chosen]
    for index, answer, seconds in judged(tasks, partial(_open, repo, code), jobs, limit):
        kept = verdicts[index]
        if answer is not None:
            facts, patch = answer
            kept.update(facts)
            if patch is not None:
                patches[kept["commit"]] = patch
        print(
            f"{release} {kept['where']} {kept['commit']} {kept['verdict']} ({seconds:.1f} s): {kept['subject']}",
            flush=True,
        )
    return verdicts, patches


def _open(repo: str, code: Code) -> Callable[[str], tuple[Verdict, proving.Written | None]]:
    clone = Clone(repo)

    def judge_one(commit: str) -> tuple[Verdict, proving.Written | None]:
        result = onto.carry(clone.change(commit), code)
        return _facts(result), proving.written(result, code) if result.verdict == "carried" else None

    return judge_one


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
    """Put verdicts into the page and its data; those that were judged before and are not among them stay."""
    file = DOCS / "carried.json"
    known: dict[str, list[Verdict]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    news = {each["commit"]: each for each in verdicts}
    before = known.get(release, [])
    known[release] = [news.pop(each["commit"], each) for each in before] + list(news.values())
    ordered = {each: known[each] for each in fixes.STABLE if each in known}
    lines = ",\n".join(
        f"{json.dumps(each)}: [\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in ordered[each]) + "\n]"
        for each in ordered
    )
    file.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    (DOCS / "carried.md").write_text(page.written(ordered), encoding="utf-8")
