"""Releases made for a test, and changes to them: small packages named as upstream's are."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from ascend_patches.carrying import onto
from ascend_patches.carrying.change import Change, Commit, FileChange
from ascend_patches.carrying.release_code import Code, code_of
from ascend_patches.carrying.results import Definition, Result

Files = Mapping[str, str]
VERSIONS: dict[str, str | None] = {"vllm-ascend": "0.18.0", "vllm": "0.18.0"}


def write(folder: Path, files: Files) -> Path:
    """A folder with the files, their packages' ``__init__.py`` and the metadata of vllm-ascend and vllm."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        for parent in list(file.parents)[: len(Path(name).parts) - 1]:
            (parent / "__init__.py").touch()
    for package, version in VERSIONS.items():
        metadata = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", "utf-8")
    return folder


def code(folder: Path, files: Files) -> Code:
    write(folder, files)
    packages = tuple(name for name in ("vllm_ascend", "vllm") if (folder / name).is_dir())
    return code_of([str(folder)], VERSIONS, packages)


def change(before: Files, after: Files) -> Change:
    """The change from some whole files to others, as a clone would give it."""
    files = [
        FileChange(path, path, _text(before, path), _text(after, path)) for path in dict.fromkeys((*before, *after))
    ]
    commit = Commit("0" * 40, "A Person <person@example.org>", "2026-01-02T03:04:05+00:00", "[BugFix] Mend it (#123)")
    base = {path: dedent(text) for path, text in before.items()}
    return Change((commit,), tuple(files), whole=True, base=base.get)


def carried(folder: Path, release: Files, before: Files, after: Files) -> Result:
    """The change from before to after, carried onto a release."""
    return onto.carry(change(before, after), code(folder, release))


def only(result: Result) -> Definition:
    assert len(result.definitions) == 1, [(each.target, each.verdict) for each in result.definitions]
    return result.definitions[0]


def git(folder: Path, *arguments: str) -> str:
    """Run git as a person of no settings would."""
    settings = ("-c", "user.name=A Person", "-c", "user.email=person@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def _text(files: Files, path: str) -> str | None:
    return dedent(files[path]) if path in files else None
