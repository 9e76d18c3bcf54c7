"""Carry upstream's fixes onto the stable releases, and keep the verdicts.

    tools/carried --repo CLONE                        every release, counted and listed
    tools/carried --repo CLONE --release 0.18.0       one release
    tools/carried --repo CLONE --write                and keep docs/carried.json and docs/carried.md

Nothing is executed or imported: the code is read from the releases that `tools/upstream fetch` brought, and from a
clone of vllm-ascend with its tags and release branches.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from releases.errors import ReleasesError
from releases.pairs import find
from releases.runner import interpreter
from releases.store import Store, default_root

from ascend_patches.carrying import onto
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.release_code import Code, code_of
from ascend_patches.errors import AscendPatchesError

from . import fixes, page
from .page import Verdict

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, metavar="CLONE", help="a clone of vllm-ascend, bare or not")
    parser.add_argument("--release", choices=fixes.STABLE, help="only this release")
    parser.add_argument("--write", action="store_true", help="keep the verdicts and the page")
    arguments = parser.parse_args()
    try:
        with Clone(arguments.repo) as clone:
            for release in [arguments.release] if arguments.release else fixes.STABLE:
                verdicts = judge(clone, release)
                print(f"{release}: {dict(Counter(each['verdict'] for each in verdicts))}", flush=True)
                if arguments.write:
                    keep(release, verdicts)
    except (AscendPatchesError, ReleasesError) as error:
        print(f"carried: {error}", file=sys.stderr)
        return 1
    return 0


def judge(clone: Clone, release: str) -> list[Verdict]:
    """The verdict of each fix, printed as it is found."""
    code = code_of_release(release)
    verdicts: list[Verdict] = []
    for where, chosen in (("branch", fixes.of_branch(clone, release)), ("main", fixes.of_main(clone, release))):
        for commit, change in chosen:
            result = onto.carry(change, code)
            verdict = result.verdict
            counted = Counter(each.verdict for each in result.definitions)
            kept = Verdict(
                number=commit.number,
                commit=commit.sha[:10],
                subject=commit.subject,
                where=where,
                verdict=verdict,
                definitions=dict(sorted(counted.items())),
            )
            verdicts.append(kept)
            print(f"{release} {where} {kept['commit']} {verdict}: {commit.subject}", flush=True)
    return verdicts


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
    file.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (DOCS / "carried.md").write_text(page.written(ordered), encoding="utf-8")
