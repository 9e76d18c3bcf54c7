"""Write a carried change as an installable distribution with one patch."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from difflib import unified_diff

from ascend_patches.carrying import new_modules, own_tests
from ascend_patches.carrying.change import kind_of
from ascend_patches.carrying.declaration_text import declaration
from ascend_patches.carrying.inventory import inventory
from ascend_patches.carrying.proven import Proof, in_readme
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.reliances import Reliances
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.errors import CarryError

_PROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"
description = {summary}
readme = "README.md"
requires-python = ">=3.10"
dependencies = ["ascend-patches"]

[project.entry-points."ascend_patches.patches"]
{package} = "{package}:PATCH"

[tool.setuptools]
packages = ["{package}"]

[tool.setuptools.package-data]
{package} = ["after/**/*.py", "before/**/*.py"]
"""

_RELEASES = ("vllm", "vllm-ascend")

_NOTICE = """\
The files below {package}/after and {package}/before, and both .diff files, hold code of vLLM or vLLM Ascend and of the
change named in README.md. It stays under the licence of these projects, the Apache License, Version 2.0
(https://www.apache.org/licenses/LICENSE-2.0), with the copyright of its authors. It has been changed as the .diff files
show.
"""


def write(result: Result, code: Code, folder: str, name: str, proof: Proof | None = None) -> str:
    """Write the distribution into a folder that is not there yet, whole or not at all; returns the folder.

    ``proof`` is what the change's own tests showed, where they were run.
    """
    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise CarryError(f"{folder}: is there already; name a folder that is not")
    files = contents(result, code, name, proof)
    parent = os.path.dirname(os.path.abspath(folder))
    try:
        os.makedirs(parent, exist_ok=True)
        staging = tempfile.mkdtemp(prefix=".carry-", dir=parent)
        try:
            for path, text in files.items():
                file = os.path.join(staging, path)
                os.makedirs(os.path.dirname(file), exist_ok=True)
                with open(file, "w", encoding="utf-8", newline="\n") as stream:
                    stream.write(text)
            os.chmod(staging, 0o755)
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise CarryError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return folder


def patch_name(result: Result, given: str | None) -> str:
    """The name that was asked for, or one made of the change's number or subject."""
    if given is not None:
        if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", given) is None or given == "all":
            raise CarryError(f"--name {given!r} is not lower-case words joined by '-'")
        return given
    if result.change.number:
        return f"carried-{result.change.number}"
    words = re.findall(r"[a-z0-9]+", re.sub(r"\[[^\]]*\]", "", result.change.subject).lower())[:6]
    return "-".join(["carried", *words])


def contents(result: Result, code: Code, name: str, proof: Proof | None = None) -> dict[str, str]:
    """Every file of the distribution, by its path."""
    package = name.replace("-", "_")
    missing = _missing(result)
    summary = " ".join(result.change.subject.split()).replace("\\", "/").replace('"', "'") or name
    files = {
        "pyproject.toml": _PROJECT.format(name=name, package=package, summary=f'"{summary}"'),
        "README.md": _readme(result, code, name, missing, proof),
        "NOTICE": _NOTICE.format(package=package),
        "upstream.diff": _upstream_diff(result, code),
        "release.diff": _release_diff(result, code),
        f"{package}/__init__.py": declaration(result, code, name, missing),
    }
    for file in sorted({each.file for each in result.carried}):
        group = [each for each in result.carried if each.file == file]
        future = inventory(code.text(file) or "").future
        files[f"{package}/after/{file}"] = _definitions(group, future, lambda each: each.text)
        before = [each for each in group if each.before]
        if before:
            files[f"{package}/before/{file}"] = _definitions(before, future, lambda each: each.before)
    return dict(sorted(files.items()))


def _definitions(group: list[Definition], future: tuple[str, ...], text: Callable[[Definition], str]) -> str:
    """Definitions of one file, each in the classes that it belongs to, with its own indentation."""
    whole = next((each for each in group if each.kind == "module"), None)
    if whole is not None:
        return f"{new_modules.without_puts(text(whole)).rstrip(chr(10))}\n"
    lines = [f"from __future__ import {', '.join(future)}", ""] if future else []
    kinds = {"import": 0, "attribute": 1, "class": 2, "function": 2, "statement": 3, "module": 4}
    inside: list[str] = []
    for each in sorted(group, key=lambda one: (bool(one.scope), one.scope, kinds[one.kind], one.order, one.path)):
        if each.kind == "statement":
            lines.append(f"# {each.text}")
            continue
        if each.kind == "class" and each.verdict == "exact":  # what is in the class stands by itself
            lines += [f"# {line}" for line in text(each).split("\n")[:-1]]
            continue
        scope = each.scope.split(".") if each.scope else []
        if scope != inside:
            shared = 0
            while shared < min(len(scope), len(inside)) and scope[shared] == inside[shared]:
                shared += 1
            lines += ["", ""] if lines else []
            lines += [f"{'    ' * depth}class {name}:" for depth, name in enumerate(scope) if depth >= shared]
            inside = scope
        elif lines and each.kind not in ("import", "attribute"):
            lines += [""] if scope else ["", ""]
        lines += text(each).split("\n")
    return "\n".join(lines).rstrip("\n") + "\n"


def _upstream_diff(result: Result, code: Code) -> str:
    """Upstream's own difference in the product's Python files."""
    pieces = [
        _diff(file.before or "", file.after or "", file.old_path, file.path)
        for change in (*result.earlier, result.change)
        for file in sorted(change.files, key=lambda each: each.path)
        if kind_of(file.path, code.packages) == "product"
    ]
    return "".join(pieces)


def _release_diff(result: Result, code: Code) -> str:
    """What the patch makes of the release's files."""
    return "".join(_diff(code.text(path) or "", text, path, path) for path, text in sorted(result.files.items()))


def _diff(before: str, after: str, old_path: str, path: str) -> str:
    lines = unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{old_path}", f"b/{path}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _how_to_prove(result: Result, code: Code) -> str:
    """The command that runs the change's own tests, as a reader has to complete it."""
    change = result.change
    what = f"--repo CLONE {change.source}" if change.whole else "CHANGE.patch"
    onto = [f"{key}=={version}" for key, version in sorted(code.versions.items()) if version and key in _RELEASES]
    more = " --partial" if result.verdict == "partly" else " --reviewed" if result.verdict == "review" else ""
    first = f" --with-prerequisites {len(result.prerequisites)}" if result.prerequisites else ""
    return f"ascend-patches carry {what} --onto {' '.join(onto) or 'RELEASE'}{first}{more} --prove"


def _missing(result: Result) -> str:
    blocked = [each for each in result.definitions if not each.is_carried and each.verdict != "already there"]
    if not blocked:
        return ""
    return f"INCOMPLETE, without {', '.join(each.target for each in blocked)}. "


def _readme(result: Result, code: Code, name: str, missing: str, proof: Proof | None) -> str:
    change = result.change
    onto = ", ".join(f"{key} {version}" for key, version in sorted(code.versions.items()) if version)
    lines = [
        f"# {name}",
        "",
        f"{' '.join(change.subject.split())}",
        "",
        f"Carried onto {onto}. Verdict: {result.verdict}.",
    ]
    if missing:
        lines += ["", f"**{missing.strip()}**"]
    lines += ["", "## Where it comes from", ""]
    for commit in change.commits:
        parts = [commit.sha[:12], " ".join(commit.subject.split()), commit.author, commit.date]
        lines.append(f"- {', '.join(part for part in parts if part)}")
    if result.prerequisites:
        lines += ["", "Carried with it, because it needs them on this release, the oldest first:", ""]
        lines += [f"- {each.shown}, {each.commit.author}, {each.commit.date}" for each in result.prerequisites]
    lines += ["", "`upstream.diff` is upstream's own difference, `release.diff` what this patch makes of the release."]
    lines += ["", "## What it carries", "", "| definition | verdict | remark |", "| --- | --- | --- |"]
    for each in result.definitions:
        remark = "; ".join([*([each.reason] if each.reason else []), *each.doubts]).replace("|", "/")
        lines.append(f"| `{each.target}` | {each.verdict} | {' '.join(remark.split())} |")
    if result.left_out:
        lines += ["", "Left out:", "", *(f"- `{each.path}`: {each.reason}" for each in result.left_out)]
    if result.callers:
        lines += ["", "To look at:", "", *(f"- {caller}" for caller in result.callers)]
    unknown = Reliances(result.carried, result, code).unknown
    if unknown:
        lines += ["", "Called, and not compared with the release's code before the patch goes on:", ""]
        lines += [f"- `{target}`: {reason}" for target, reason in sorted(unknown.items())]
    has_tests = bool(own_tests.touches_tests(change))
    lines += ["", "## Proof", "", *in_readme(proof, _how_to_prove(result, code), has_tests=has_tests)]
    lines += [
        "",
        "## Use",
        "",
        "```",
        "pip install .",
        f"ascend-patches explain {name}",
        f"ascend-patches status          # {name}: applied, once what it changes is imported",
        "```",
        "",
        f"`[patches.{name}] enabled = false` in patches.toml switches it off. It is skipped by itself where upstream's",
        "code is another, and where the release has the change already.",
        "",
        "Licence: see NOTICE.",
        "",
    ]
    return "\n".join(lines)
