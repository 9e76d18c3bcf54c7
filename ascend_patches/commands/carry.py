"""carry: an upstream change as a patch for the release that a team runs, or why it cannot be one."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from difflib import unified_diff

from ascend_patches.carrying import later_release, onto, patch_file, prerequisites, writing
from ascend_patches.carrying.change import Change
from ascend_patches.carrying.clone import Clone
from ascend_patches.carrying.proven import Proof
from ascend_patches.carrying.release_code import Code, code_of, top_level
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.commands import console, proof_of_change, prove
from ascend_patches.commands.upgrade import companions
from ascend_patches.deciding.lock import Lock
from ascend_patches.errors import CarryError, UsageError
from ascend_patches.upstream import distributions, named_releases
from ascend_patches.upstream.sources import Installation

_PACKAGES = ("vllm_ascend", "vllm")
_FINE = ("carried", "already there")


def carry(arguments: argparse.Namespace) -> int:
    _refuse_contradictions(arguments)
    if arguments.prove:
        prove.need_tools()
    code, roots = _release(arguments.onto, arguments.wheels)
    text = _patch_text(arguments)
    with Clone(arguments.repo) if arguments.repo else nullcontext() as clone:
        change = _change(arguments, code, clone, text)
        if clone is not None and arguments.with_prerequisites:
            result = prerequisites.carry(change, code, clone, arguments.with_prerequisites)
        else:
            result = onto.carry(change, code)
        name, why_not = _to_write(result, arguments)
        proof = None
        if arguments.prove and name:
            proof = proof_of_change.proof_of(result, code, roots, name, clone, text, arguments.wheels)
    if proof is not None and proof.shown == "worse":
        name, why_not = "", proof.sentences[0]
    written = writing.write(result, code, arguments.output, name, proof) if arguments.output and name else None
    if arguments.json:
        print(json.dumps(_as_json(result, written, proof), indent=2))
    else:
        _print(result, code)
        if arguments.prove:
            _print_proof(proof, why_not)
        print(f"\nwritten: {written}" if written else f"\nnothing is written: {why_not}" if arguments.output else "")
    if arguments.output and not written and result.verdict != "already there":
        print(f"ascend-patches: nothing is written: {why_not}", file=sys.stderr)
    if arguments.prove and result.verdict != "already there":
        return 0 if proof is not None and proof.shown == "proved" else 1
    return 0 if result.verdict in _FINE else 1


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.repo and arguments.later:
        raise UsageError("--repo and --from are two sources of a change; give one of them")
    if arguments.with_prerequisites and not arguments.repo:
        raise UsageError(
            "--with-prerequisites looks for earlier changes in a clone's history; name one: --repo CLONE COMMIT"
        )
    if arguments.with_prerequisites < 0:
        raise UsageError(
            f"--with-prerequisites {arguments.with_prerequisites}: it takes a number of changes, not less than 0"
        )
    if not arguments.later and len(arguments.change) != 1:
        raise UsageError("one change at a time; several commits of a clone are written OLDER..NEWER")


def _release(named: list[str] | None, wheels: str | None) -> tuple[Code, Sequence[str]]:
    """The code of the releases that are named, or of what is installed here, and where it lies."""
    if named:
        asked = named_releases.resolve(named, companions(Lock.read()), wheels)
        return code_of(asked.code.paths, dict(asked.versions), _packages(asked.code.paths)), asked.code.paths
    versions: dict[str, str | None] = {}
    roots = []
    for package in _PACKAGES:
        location = distributions.locate(package)
        if location is not None:
            roots.append(os.path.dirname(location))
            versions[package.replace("_", "-")] = Installation.version(package)
    if not roots:
        raise UsageError("neither vllm-ascend nor vllm is installed here; name a release: --onto vllm-ascend==VERSION")
    return code_of(roots, versions, _PACKAGES), list(dict.fromkeys(roots))


def _packages(roots: tuple[str, ...]) -> tuple[str, ...]:
    """vllm-ascend and vLLM where they are there; else every package that the roots hold."""
    tops = [top for root in roots for top in top_level(root)]
    known = tuple(package for package in _PACKAGES if package in tops)
    return known or tuple(dict.fromkeys(tops))


def _patch_text(arguments: argparse.Namespace) -> str | None:
    """The patch file that is named, or what comes in; None where the change is read from elsewhere."""
    if arguments.later or arguments.repo:
        return None
    name = arguments.change[0]
    try:
        if name == "-":
            content = sys.stdin.buffer.read()
        else:
            with open(name, "rb") as stream:
                content = stream.read()
    except OSError as error:
        raise CarryError(f"{name}: cannot be read: {error.strerror or error}") from None
    return content.decode("utf-8", "replace")


def _change(arguments: argparse.Namespace, code: Code, clone: Clone | None, text: str | None) -> Change:
    if clone is not None:
        return clone.change(arguments.change[0])
    if text is not None:
        return patch_file.read(text, code, arguments.change[0])
    asked = named_releases.resolve([arguments.later], None, arguments.wheels)
    later = code_of(asked.code.paths, dict(asked.versions), _packages(asked.code.paths))
    return later_release.read(arguments.change, later, code, arguments.later)


def _to_write(result: Result, arguments: argparse.Namespace) -> tuple[str, str]:
    """The name of the patch that there is to write and to prove, or why there is none."""
    if not result.carried:
        return "", f"the change is {result.verdict}"
    if result.verdict == "partly" and not arguments.partial:
        return "", "a part of the change cannot be carried; --partial writes the rest, and says in it what is missing"
    if result.doubts and not arguments.reviewed:
        return "", "it asks for a review; look at both differences, and write it with --reviewed"
    return writing.patch_name(result, arguments.patch_name), ""


def _as_json(result: Result, written: str | None, proof: Proof | None) -> dict[str, object]:
    return {
        "verdict": result.verdict,
        "definitions": [definition.as_json() for definition in result.definitions],
        "left_out": [each.as_json() for each in result.left_out],
        "callers": result.callers,
        "prerequisites": [each.as_json() for each in result.prerequisites],
        "searched": result.searched,
        "proof": proof.as_json() if proof is not None else None,
        "output": written,
    }


def _print(result: Result, code: Code) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in code.versions.items() if version)
    print(f"{result.change.subject}\nonto {versions}: {result.verdict}\n")
    if result.prerequisites:
        print("carried first, because it needs them there, the oldest first:")
        print("".join(f"  {each.shown}\n" for each in result.prerequisites))
    if result.searched:
        print(f"no earlier changes were found that help: {result.searched}\n")
    rows = [
        [each.target, each.verdict, "; ".join([*([each.reason] if each.reason else []), *each.doubts]) or "-"]
        for each in result.definitions
    ]
    if rows:
        print(console.table(["definition", "verdict", "reason"], rows))
    for each in result.left_out:
        print(f"left out: {each.path}: {each.reason}")
    for caller in result.callers:
        print(f"note: {caller}")
    for definition in result.definitions:
        _print_sides(definition, result.verdict)


def _print_proof(proof: Proof | None, why_not: str) -> None:
    """What the tests showed, with every test that is not the same on both sides."""
    if proof is None:
        print(f"\nnot proved: {why_not}")
        return
    print(f"\nits own tests{f', on {proof.device}' if proof.device else ''}: {'; '.join(proof.sentences)}")
    for each in proof.tests:
        if each.before != each.after:
            print(f"  {each.test}: {each.before} without it, {each.after} with it")
    for problem in proof.problems:
        print(f"  {problem}")
    if proof.shown == "not proved":
        print("not proved: no test fails without it and passes with it, on a release that it was in place on")


def _print_sides(definition: Definition, verdict: str) -> None:
    """What a person has to look at: each conflict, and both differences of what asks for a review."""
    for conflict in definition.conflicts:
        sides = zip(("before the change", "after the change", "the release"), conflict, strict=True)
        print(f"\n== {definition.target}: conflict")
        print("\n".join(f"-- {name}\n{text}" for name, text in sides))
    if verdict == "review" and definition.doubts and definition.is_carried:
        print(f"\n== {definition.target}: upstream's difference")
        print(_difference(definition.base, definition.theirs))
        print(f"== {definition.target}: the difference on the release")
        print(_difference(definition.before, definition.text))


def _difference(before: str, after: str) -> str:
    lines = unified_diff(before.split("\n"), after.split("\n"), "before", "after", lineterm="")
    return "\n".join(lines)
