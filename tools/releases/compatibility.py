"""Which patch does what on which release: the table, worked out from the sources and the lock alone."""

from __future__ import annotations

from typing import NamedTuple

from packaging.version import Version

from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.patch import Patch
from ascend_patches.patches import PATCHES
from ascend_patches.settings.model import Settings
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.sources import Roots

from .pairs import OLDER, PAIRS, Pair
from .store import Store


class Outcome(NamedTuple):
    """What becomes of a patch on a release when it is on."""

    patch: str
    release: str
    what: str
    variant: str
    reason: str
    targets: tuple[str, ...]

    @property
    def state(self) -> str:
        """The state that its status shows once everything is imported."""
        return "applied" if self.what == "applied" else "skipped"


def release(pair: Pair) -> str:
    """A release as the lock and the reports name it."""
    return f"vllm-ascend {pair.ascend} with vllm {pair.vllm}" if pair.ascend else f"vllm {pair.vllm}"


def environment(pair: Pair) -> Environment:
    """What gates see on a release."""
    versions: dict[str, str | None] = {"vllm": pair.vllm}
    if pair.ascend:
        versions |= {"vllm-ascend": pair.ascend, "torch-npu": pair.torch_npu}
    return Environment(versions)


def sources(pair: Pair, store: Store) -> Roots:
    """The code of a release."""
    return Roots(store.site(distribution) for distribution in pair.upstream)


def outcomes(pair: Pair, store: Store, lock: Lock | None = None) -> list[Outcome]:
    """What becomes of every patch on a release when all are on."""
    code, where, lock = sources(pair, store), environment(pair), lock or Lock.read()
    return [_outcome(patch, pair, where, code, lock) for patch in PATCHES]


def document(store: Store) -> str:
    """docs/compatibility.md."""
    table = {
        release(pair) + (" (older)" if pair in OLDER else ""): {one.patch: one for one in outcomes(pair, store)}
        for pair in sorted((*PAIRS, *OLDER), key=lambda pair: (bool(pair.ascend), Version(pair.ascend or pair.vllm)))
    }
    names = [patch.name for patch in PATCHES]
    lines = [
        "# Compatibility",
        "",
        "What becomes of each patch, when it is on, on each release that the tests run. `tools/compatibility` writes",
        "this page from the released sources and the lock; the tests hold every cell against the release itself. Rows",
        "that are marked as older are read and not run.",
        "",
        "| release | " + " | ".join(f"`{name}`" for name in names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    lines += [f"| {name} | " + " | ".join(row[patch].what for patch in names) + " |" for name, row in table.items()]
    lines += ["", "## Why not", ""]
    for name in names:
        reasons: dict[str, list[str]] = {}
        for title, row in table.items():
            if row[name].what != "applied":
                reasons.setdefault(row[name].reason, []).append(title)
        if reasons:
            lines += [f"### `{name}`", ""]
            lines += [f"* {reason} ({', '.join(titles)})" for reason, titles in reasons.items()]
            lines.append("")
    not_run = [pair for pair in PAIRS if pair.cannot_run]
    if not_run:
        lines += ["## Not run", "", *(f"* {release(pair)}: {pair.cannot_run}" for pair in not_run), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _outcome(patch: Patch, pair: Pair, where: Environment, code: Roots, lock: Lock) -> Outcome:
    choice = Settings(enable=frozenset({patch.name})).choice(patch, where)
    foreseen = foresee(patch, choice, where, lock, code)
    applied = foreseen.verdict == "apply" and foreseen.variant is not None
    return Outcome(
        patch.name,
        release(pair),
        "applied" if applied else foreseen.kind or foreseen.verdict,
        foreseen.variant.name if foreseen.variant is not None else "",
        foreseen.reason,
        foreseen.variant.targets if applied and foreseen.variant is not None else (),
    )
