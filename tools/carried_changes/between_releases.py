"""vLLM's own changes between neighbouring releases, carried file by file, where no history is at hand.

    tools/carried_vllm 0.22.0 0.22.1            every file that differs, with what becomes of it on the older release
    tools/carried_vllm 0.22.0 0.22.1 --write    and keep docs/carried_vllm.md
    tools/carried_vllm --write                  the pairs that the page has

Both releases are vLLM's sdists, which pip brings; nothing of them is run. What is carried is compared with the newer
release, definition by definition, and everything has to be there already on the newer one: a difference is an error.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ascend_patches.carrying import later_release, onto
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.inventory import inventory
from ascend_patches.carrying.release_code import Code, code_of
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.errors import AscendPatchesError
from ascend_patches.upstream import named_releases

PAIRS = (("0.18.0", "0.18.1"), ("0.22.0", "0.22.1"))
DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
_BLOCKS = ("conflict", "not there", "cannot")


class FileOf(NamedTuple):
    """One file that differs, with what becomes of it on the older release. Facts only: no code of upstream's."""

    path: str
    verdict: str
    definitions: Mapping[str, int]
    reasons: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="the older one and the newer one")
    parser.add_argument("--write", action="store_true", help="keep docs/carried_vllm.md")
    arguments = parser.parse_args()
    if len(arguments.releases) not in (0, 2):
        parser.error("it takes two releases, the older one first, or none")
    pairs = [(arguments.releases[0], arguments.releases[1])] if arguments.releases else list(PAIRS)
    found: dict[tuple[str, str], list[FileOf]] = {}
    try:
        for older, newer in pairs:
            found[older, newer] = []
            for file in files_between(code_of_sdist(older), code_of_sdist(newer), newer):
                found[older, newer].append(file)
                print(f"{older} to {newer} {file.path}: {file.verdict} {dict(file.definitions)}", flush=True)
                for reason in (*file.reasons, *file.wrong):
                    print(f"    {reason}", flush=True)
            print(counted(older, newer, found[older, newer]), flush=True)
    except AscendPatchesError as error:
        print(f"carried_vllm: {error}", file=sys.stderr)
        return 1
    if arguments.write:
        (DOCS / "carried_vllm.md").write_text(page(found), encoding="utf-8")
    return 1 if any(file.wrong for files in found.values() for file in files) else 0


def code_of_sdist(version: str) -> Code:
    asked = named_releases.resolve([f"vllm=={version}"])
    return code_of(asked.code.paths, dict(asked.versions), ("vllm",))


def files_between(old: Code, new: Code, newer: str) -> Iterator[FileOf]:
    """Every Python file of vLLM that differs, carried for itself onto the older release."""
    for path in sorted({*old.paths(), *new.paths()}):
        if old.text(path) == new.text(path):
            continue
        if not new.has_path(path):
            yield FileOf(path, "taken away", {})
        else:
            yield file_of(path, old, new, newer)


def file_of(path: str, old: Code, new: Code, newer: str) -> FileOf:
    """What becomes of one file."""
    change = later_release.read([module_of(path)], new, old, f"vllm=={newer}")
    result = onto.carry(change, old)
    again = onto.carry(change, new)
    wrong = [f"{each.target} is not the newer release's" for each in result.carried if not _is_newer(result, each, new)]
    wrong += [
        f"{each.target} is {each.verdict} on the newer release itself"
        for each in again.definitions
        if each.verdict != "already there" and each.path in inventory(new.text(path) or "").items
    ]
    # The older release is what the change was made to: nothing of it can have moved, be gone or be in conflict.
    wrong += [
        f"{each.target}: {each.verdict}" for each in result.definitions if each.verdict in ("conflict", "not there")
    ]
    reasons = [f"{_name(each.target)}: {each.reason}" for each in result.definitions if each.verdict in _BLOCKS]
    reasons += [f"{_name(each.path)}: {each.reason}" for each in result.left_out]
    reasons += [f"{_name(each.target)}: {doubt}" for each in result.definitions for doubt in each.doubts]
    definitions = Counter(each.verdict for each in result.definitions)
    verdict = result.verdict if result.definitions else "nothing to carry"
    return FileOf(path, verdict, dict(sorted(definitions.items())), tuple(dict.fromkeys(reasons)), tuple(wrong))


def _name(target: str) -> str:
    """The definition of a target, in one line."""
    return target.rpartition(":")[2].partition("\n")[0]


def _is_newer(result: Result, definition: Definition, new: Code) -> bool:
    """Whether a definition that is carried is, as code, the newer release's."""
    there = inventory(new.text(definition.file) or "").items.get(definition.path, [])
    here = inventory(result.files[definition.file]).items.get(definition.path, [])
    return [each.code for each in here] == [each.code for each in there]


def counted(older: str, newer: str, files: Sequence[FileOf]) -> str:
    """One line on a pair."""
    verdicts = Counter(file.verdict for file in files)
    definitions = sum((Counter(file.definitions) for file in files), Counter[str]())
    wrong = sum(len(file.wrong) for file in files)
    return (
        f"vllm {older} to {newer}: {len(files)} files {dict(verdicts)}; definitions {dict(definitions)}; {wrong} wrong"
    )


_HEAD = """\
# vLLM's own changes between neighbouring releases

<!-- Written by tools/carried_vllm. -->

`ascend-patches carry --from vllm==NEWER MODULE --onto vllm==OLDER` carries what differs in one file between two
releases. This is what becomes of each file that differs, each carried for itself: `carried`, `review` where something
speaks against it, `partly` and `not carried` with the reason; `nothing to carry` are imports that nothing of the file
uses, and comments. A definition that needs one of another file cannot be carried without it: name both modules then.
Compared with the newer release, all that is carried is its code.
"""


def page(found: Mapping[tuple[str, str], Sequence[FileOf]]) -> str:
    """The page."""
    lines = [_HEAD]
    for (older, newer), files in found.items():
        lines += [
            f"## vLLM {older} to {newer}",
            "",
            f"{counted(older, newer, files)}.",
            "",
            "| file | verdict | definitions | why |",
            "| --- | --- | --- | --- |",
        ]
        for file in files:
            definitions = ", ".join(f"{count} {name}" for name, count in file.definitions.items()) or "-"
            why = "<br>".join(f"`{reason.replace('|', '/').replace('`', chr(39))}`" for reason in file.reasons) or "-"
            lines.append(f"| {file.path} | {file.verdict} | {definitions} | {why} |")
        lines.append("")
    return "\n".join(lines)
