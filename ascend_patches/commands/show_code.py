"""diff, fingerprint: upstream's code and what replaces it, to look at."""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import textwrap

from ascend_patches import catalogue
from ascend_patches.commands.names import nearest, patch_named
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.patch import Patch, Rewrite, Variant
from ascend_patches.declaring.registry import Registry
from ascend_patches.errors import AscendPatchesError
from ascend_patches.settings import reader
from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.environment import here
from ascend_patches.upstream.sources import Installation


def diff(arguments: argparse.Namespace) -> int:
    known = catalogue.known()
    patch = patch_named(arguments.patch, known)
    variant = _chosen(patch, arguments, known)
    code = Installation()
    for rewrite in variant.rewrites:
        ours = "advice around" if rewrite.around is not None else patch.name
        upstream, where = _upstream_text(rewrite, code)
        lines = difflib.unified_diff(
            upstream.splitlines(),
            _replacement_text(rewrite, code).splitlines(),
            f"upstream {rewrite.target} ({where})",
            f"{ours} {rewrite.target} (variant {variant.name})",
            lineterm="",
            n=1000,
        )
        print("\n".join(lines))
    return 0


def fingerprint(arguments: argparse.Namespace) -> int:
    if not arguments.target.partition(":")[2]:
        raise AscendPatchesError(f"{arguments.target!r} is not of the form package.module:Class.attribute")
    found = Installation().find(arguments.target)
    if isinstance(found, str):
        raise AscendPatchesError(found)
    known = fingerprints.of_node(found.node)
    if known is None:
        raise AscendPatchesError(f"{arguments.target} is nested too deeply to be read")
    print(known)
    return 0


def _chosen(patch: Patch, arguments: argparse.Namespace, known: Registry) -> Variant:
    if arguments.variant is not None:
        for variant in patch.variants:
            if variant.name == arguments.variant:
                return variant
        names = [variant.name for variant in patch.variants]
        near = nearest(arguments.variant, names)
        raise AscendPatchesError(f"{patch.name} has no variant {arguments.variant!r}{near}; it has: {', '.join(names)}")
    choice = reader.load(known.patches, arguments.config).choice(patch, here)
    foreseen = foresee(patch, choice, here, Lock.read())
    if foreseen.variant is None:
        raise AscendPatchesError(f"no variant of {patch.name} fits here: {foreseen.reason}; name one with --variant")
    return foreseen.variant


def _upstream_text(rewrite: Rewrite, code: Installation) -> tuple[str, str]:
    found = code.find(rewrite.target)
    if isinstance(found, str):
        return "", found
    return textwrap.dedent(found.text), f"{found.module}, fingerprint {fingerprints.of_node(found.node)}"


def _replacement_text(rewrite: Rewrite, code: Installation) -> str:
    named = rewrite.replace if rewrite.replace is not None else rewrite.around
    try:
        # Its module may need torch, which is not everywhere: it is read where that is possible, and not imported.
        text = _written(named, code) if isinstance(named, str) else None
        return text or textwrap.dedent(inspect.getsource(rewrite.replacement()))
    except Exception as error:
        raise AscendPatchesError(
            f"the replacement of {rewrite.target} cannot be shown: {type(error).__name__}: {error}"
        ) from error


def _written(named: str, code: Installation) -> str | None:
    """The text of a function that is named; of one that ``NAME = factory(...)`` makes, that line and the factory."""
    found = code.find(named)
    if not isinstance(found, str):
        return textwrap.dedent(found.text)
    module, _, name = named.partition(":")
    for node in ast.walk(ast.parse(code.read(module) or "")):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call(func=ast.Name(id=factory))) if target == name:
                made_by = _written(f"{module}:{factory}", code)
                return made_by and f"{ast.unparse(node)}\n\n{made_by}"
    return None
