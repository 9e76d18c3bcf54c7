"""Carry upstream's fixes onto the stable releases, and keep the verdicts.

    tools/carried --repo CLONE                        every release, counted and listed
    tools/carried --repo CLONE --release 0.18.0       one release
    tools/carried --repo CLONE --write                and keep docs/carried.json and docs/carried.md
    tools/carried --repo CLONE --write --only COMMIT  judge some again, and leave the other verdicts as they are
    tools/carried --repo CLONE --with-prerequisites 3 and say which can be carried after up to three earlier ones
    tools/carried --repo CLONE --with-prerequisites 3 --unsearched --write      go on where such a run was ended
    tools/carried --repo CLONE --having carried       judge those again whose kept verdict is one of these
    tools/carried --repo CLONE --prove                and put each that is carried in place on its release
    tools/carried --repo CLONE --own-tests            and run its own tests, without the patch and with it

With --prove every carried patch is written, found, applied on the emulated NPU with all its names resolved, compared
with upstream's own difference, and reverted to the letter. Where the release itself cannot import the module that is
patched, no patch being on, that is said with the error.

With --own-tests only the changes are judged that have unit tests; a carried one runs them on the emulated NPU of its
release. A test that fails without the patch only because a name is missing is counted apart.

With --write each verdict is kept as it is found; several runs may keep theirs side by side.

Each change is judged within --limit seconds. Without --prove and --own-tests nothing is executed or imported: the code
is read from the releases that `tools/upstream fetch` brought, and from a clone of vllm-ascend with its tags and release
branches.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from releases.errors import ReleasesError
from releases.pairs import find
from releases.runner import interpreter
from releases.store import Store, default_root
from torch_environment import go_on_with_torch

from ascend_patches.carrying import onto, prerequisites
from ascend_patches.carrying.change import Commit
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.release_code import Code, code_of
from ascend_patches.carrying.results import Result
from ascend_patches.errors import AscendPatchesError

from . import by_their_tests, fixes, page, proving
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
    parser.add_argument("--own-tests", action="store_true", help="run the tests of each carried change that has some")
    parser.add_argument(
        "--with-prerequisites", type=int, default=0, metavar="N", help="carry up to N earlier ones first"
    )
    parser.add_argument("--having", nargs="+", default=[], metavar="VERDICT", help="only changes with these verdicts")
    parser.add_argument(
        "--unsearched", action="store_true", help="only changes of which earlier ones were not looked for yet"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="COMMIT", help="only these changes")
    parser.add_argument("--limit", type=float, default=_LIMIT, metavar="SECONDS", help="for one change; default 120")
    parser.add_argument("--jobs", type=int, default=_WORKERS, metavar="N", help="processes that judge; default 2")
    arguments = parser.parse_args()
    if arguments.prove or arguments.own_tests:
        go_on_with_torch()
    try:
        wrong = 0
        for release in [arguments.release] if arguments.release else fixes.STABLE:
            verdicts, patches = judge(arguments, release)
            for where in ("branch", "main"):
                counted = Counter(each["verdict"] for each in verdicts if each["where"] == where)
                print(f"{release}, {where}: {dict(counted)}", flush=True)
            if arguments.own_tests:
                _prove_by_tests(arguments, release, verdicts, patches)
            if arguments.prove:
                wrong += _prove(release, patches, verdicts)
            if arguments.write:
                keep(release, verdicts)
    except (AscendPatchesError, ReleasesError) as error:
        print(f"carried: {error}", file=sys.stderr)
        return 1
    return 1 if wrong else 0


def _prove_by_tests(
    arguments: argparse.Namespace, release: str, verdicts: list[Verdict], patches: dict[str, proving.Written]
) -> None:
    """Run the tests of each change that is carried, and keep what they show as it is found."""
    by_commit = {each["commit"]: each for each in verdicts}
    shown: Counter[str] = Counter()
    for commit, proof in by_their_tests.prove_all(arguments.repo, release, patches, _say):
        shown[proof.shown] += 1
        by_commit[commit]["tests"] = by_their_tests.kept(proof)
        if arguments.write:
            keep(release, [by_commit[commit]])
    print(f"{release}: of {shown.total()} carried changes with tests of their own: {dict(shown)}", flush=True)


def _prove(release: str, patches: dict[str, proving.Written], verdicts: list[Verdict]) -> int:
    """Put in place what is carried, and say how many of it are neither that nor explained by the release."""
    found = proving.prove(release, patches)
    for each in verdicts:
        if each["commit"] in found:
            each["in_place"] = found[each["commit"]].said
    for name, one in found.items():
        print(f"{release} {name}: {'in place, and reverted' if one.said == 'yes' else one.said}", flush=True)
    kinds = ("wrong" if one.wrong else "unimportable" if one.unimportable else "in place" for one in found.values())
    counted = Counter(kinds)
    print(
        f"{release}: {counted['in place']} of {len(found)} carried changes are in place on it and reverted; "
        f"{counted['unimportable']} are for modules that the release itself cannot import; "
        f"{counted['wrong']} are wrong",
        flush=True,
    )
    return counted["wrong"]


def judge(arguments: argparse.Namespace, release: str) -> tuple[list[Verdict], dict[str, proving.Written]]:
    """The verdict of each fix, printed as it is found, and what is written of each that is carried."""
    code = code_of_release(release)
    chosen = _chosen(arguments, release)
    verdicts = [
        Verdict(number=commit.number, commit=commit.sha[:10], subject=commit.subject, where=where, verdict=page.NO_TIME)
        for where, commit in chosen
    ]
    # What is read of the release before the workers start is read once.
    code.words.know_all()
    patches: dict[str, proving.Written] = {}
    tasks = [commit.sha for _, commit in chosen]
    opened = partial(_open, arguments.repo, code, arguments.with_prerequisites)
    for index, answer, seconds in judged(tasks, opened, arguments.jobs, arguments.limit):
        kept = verdicts[index]
        searched = ""
        if answer is not None:
            facts, patch, searched = answer
            kept.update(facts)
            if patch is not None:
                patches[kept["commit"]] = patch
        earlier = kept.get("prerequisites")
        verdict = f"{kept['verdict']}{', carried after ' + ', '.join(earlier) if earlier else ''}"
        verdict += f" [{searched}]" if searched else ""
        if arguments.write:
            keep(release, [kept])
        print(f"{release} {kept['where']} {kept['commit']} {verdict} ({seconds:.1f} s): {kept['subject']}", flush=True)
    return verdicts, patches


def _chosen(arguments: argparse.Namespace, release: str) -> list[tuple[str, Commit]]:
    """The changes to judge, each with where it is: on main, or on the release's own branch."""
    known = {each["commit"]: each["verdict"] for each in _kept().get(release, [])}
    with Clone(arguments.repo) as clone:
        chosen = [("branch", each) for each in fixes.of_branch(clone, release)]
        chosen += [("main", each) for each in fixes.of_main(clone, release)]
        if arguments.own_tests:
            chosen = [(where, each) for where, each in chosen if by_their_tests.has_own_tests(clone.change(each.sha))]
    if arguments.only:
        chosen = [(where, each) for where, each in chosen if each.sha.startswith(tuple(arguments.only))]
    if arguments.unsearched:
        asked = {each["commit"] for each in _kept().get(release, []) if "prerequisites" in each}
        chosen = [(where, each) for where, each in chosen if each.sha[:10] not in asked]
    if arguments.having:
        chosen = [(where, each) for where, each in chosen if known.get(each.sha[:10]) in arguments.having]
    return chosen


Answer = tuple[Verdict, proving.Written | None, str]
"""The facts about a change, what is written of it where it is carried, and what a search for earlier ones came to."""


def _open(repo: str, code: Code, most: int) -> Callable[[str], Answer]:
    clone = Clone(repo)

    searcher = prerequisites.Searcher(code, clone, most)

    def judge_one(commit: str) -> Answer:
        change = clone.change(commit)
        alone = onto.carry(change, code)
        result = searcher.carry(change, alone)
        facts = _facts(alone)
        if most:
            facts["prerequisites"] = [
                each.commit.sha[:10] for each in result.prerequisites if result.verdict == "carried"
            ]
        searched = result.searched
        if result.prerequisites and result.verdict != "carried":
            searched = f"after {', '.join(each.commit.sha[:10] for each in result.prerequisites)} it is for review"
        return facts, proving.written(result, code) if result.verdict == "carried" else None, searched

    return judge_one


def _say(text: str) -> None:
    print(text, flush=True)


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


def _kept() -> dict[str, list[Verdict]]:
    """The verdicts that the page has."""
    file = DOCS / "carried.json"
    kept: dict[str, list[Verdict]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return kept


def _renewed(before: Verdict, now: Verdict) -> Verdict:
    """A verdict as it is now, with what was not asked this time, as far as it still holds."""
    if before["verdict"] != now["verdict"]:
        return now
    for name in ("prerequisites", "tests", "in_place"):
        if name in before and name not in now:
            now[name] = before[name]  # type: ignore[literal-required]
    return now


def keep(release: str, verdicts: list[Verdict]) -> None:
    """Put verdicts into the page and its data; those that were judged before and are not among them stay."""
    with _alone():
        _keep(release, verdicts)


def _keep(release: str, verdicts: list[Verdict]) -> None:
    known = _kept()
    news = {each["commit"]: each for each in verdicts}
    before = known.get(release, [])
    known[release] = [_renewed(each, news.pop(each["commit"], each)) for each in before] + list(news.values())
    ordered = {each: known[each] for each in fixes.STABLE if each in known}
    lines = ",\n".join(
        f"{json.dumps(each)}: [\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in ordered[each]) + "\n]"
        for each in ordered
    )
    (DOCS / "carried.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    (DOCS / "carried.md").write_text(page.written(ordered), encoding="utf-8")


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other run is writing."""
    folder = os.open(DOCS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
