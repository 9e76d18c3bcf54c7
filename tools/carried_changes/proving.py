"""Every carried change in place on its release: written, found, applied with all names resolved, and reverted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from releases import runner
from releases.pairs import find
from releases.store import Store, default_root

from ascend_patches.carrying import merging, writing
from ascend_patches.carrying.inventory import parsed
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.upstream import fingerprints

_IN_PLACE = Path(__file__).with_name("in_place.py")
_SECONDS = 1500


class Written(NamedTuple):
    """The files of a carried change, and what its text shows to be wrong."""

    name: str
    files: Mapping[str, str]
    wrong: tuple[str, ...]


class InPlace(NamedTuple):
    """What is wrong with a carried change in place, and what of its release cannot be imported without it either."""

    wrong: tuple[str, ...] = ()
    unimportable: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """In words, for the page and the log."""
        if self.wrong:
            return "; ".join(self.wrong)
        return f"the release itself cannot import {'; '.join(self.unimportable)}" if self.unimportable else "yes"


def written(result: Result, code: Code) -> Written:
    """The distribution of a result, and whether it is upstream's own difference."""
    # Of several changes that touch one definition, each is upstream's own upon the one before.
    carried = [each for one in (result.steps or (result,)) for each in one.carried]
    wrong = tuple(said for each in carried if (said := other_difference(each)))
    name = writing.patch_name(result, None)
    return Written(name, writing.contents(result, code, name), wrong)


def other_difference(definition: Definition) -> str:
    """How what is carried minus the release is another difference than upstream's; empty where it is the same."""
    if definition.kind not in ("function", "class"):
        return ""
    texts = (definition.base, definition.theirs, definition.before, definition.text)
    nodes = [parsed(text) if text.strip() else None for text in texts]
    prints = [fingerprints.of_node(node) if node is not None else "" for node in nodes]
    if definition.verdict == "exact":
        same = prints[0] == prints[2] and prints[1] == prints[3]
    elif definition.verdict == "added":
        same = prints[1] == prints[3]
    else:
        counts = [merging.words(text) for text in texts]
        if None in counts:
            return f"{definition.target}: a side of it is no Python"
        base, theirs, release, here = (each for each in counts if each is not None)
        same = base - theirs == release - here and theirs - base == here - release
    return "" if same else f"{definition.target}: what is carried is not upstream's own difference"


def prove(release: str, patches: Mapping[str, Written]) -> dict[str, InPlace]:
    """What is wrong with each patch, by the name that it is given here; nothing where it was in place and went."""
    if not patches:
        return {}
    store = Store(default_root(), runner.interpreter())
    pair = find(f"vllm-ascend=={release}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
    environment = runner.environment(pair, store, environment)
    environment["TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING"] = "0"
    with tempfile.TemporaryDirectory(prefix="carried-") as scratch:
        folders = {}
        for name, one in patches.items():
            folders[name] = Path(scratch) / name
            for path, text in one.files.items():
                file = folders[name] / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
        done = subprocess.run(
            [sys.executable, str(_IN_PLACE), *map(str, folders.values())],
            env=environment,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    told = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"folder"'):
            one_told = json.loads(line)
            told[Path(one_told["folder"]).name] = one_told
    return {name: in_place(one, told.get(name), done.stderr) for name, one in patches.items()}


def in_place(one: Written, told: Mapping[str, object] | None, said: str) -> InPlace:
    if told is None:
        return InPlace((*one.wrong, f"the process on the release ended early: {said[-600:]}"))
    problems, left = (told.get(each) for each in ("problems", "left"))
    found = tuple(map(str, problems)) if isinstance(problems, list) else ()
    if told["state"] == "not importable":
        return InPlace(one.wrong, found)
    state = () if told["state"] == "applied" else (str(told["state"]),)
    behind = tuple(f"left behind: {each}" for each in left) if isinstance(left, list) else ()
    return InPlace((*one.wrong, *state, *found, *behind))
