"""What the replacements of one release depend on, and which of it their patches do not know."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from releases import runner
from releases.errors import CannotRunError
from releases.pairs import Pair
from releases.store import Store

from ascend_patches.patches import PATCHES
from relying.harmless import reason

RECORD = Path(__file__).with_name("record.py")


class Dependency(NamedTuple):
    """One upstream function that one replacement depends on."""

    patch: str
    variant: str
    target: str
    name: str
    how: str

    @property
    def examined(self) -> tuple[str, ...]:
        """All that the variant replaces or relies on."""
        patch = next(patch for patch in PATCHES if patch.name == self.patch)
        return next(variant.examined for variant in patch.variants if variant.name == self.variant)

    @property
    def why_harmless(self) -> str | None:
        return reason(self.name)

    def __str__(self) -> str:
        return f"{self.patch}, variant {self.variant}, {self.target}: {self.name} ({self.how})"


def dependencies(pair: Pair, store: Store) -> list[Dependency]:
    """What the replacements that are applied on a release depend on."""
    return list(_read(recorded(pair, store)))


def known(found: list[Dependency]) -> set[str]:
    """What the applied patches replace or rely on.

    One patch may count on what another knows: it takes another's way only while that one's replacement is in place.
    """
    return {name for each in found for name in each.examined}


def unknown(found: list[Dependency]) -> list[Dependency]:
    """Those that are neither replaced, nor relied on, nor declared harmless."""
    names = known(found)
    return [each for each in found if each.name not in names and each.why_harmless is None]


def recorded(pair: Pair, store: Store) -> str:
    """What the recording prints, in a process that sees this release only."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM"))}
    environ = runner.environment(pair, store, clean)
    # Operators that return their argument, as torchair's do, are refused by torch where CI is set.
    environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING": "0"}
    command = [store.interpreter.executable, str(RECORD)]
    ran = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode:
        raise CannotRunError(f"{RECORD.name} on {pair.name} ended with {ran.returncode}:\n{ran.stderr[-4000:]}")
    return ran.stdout.strip().splitlines()[-1]


def _read(text: str) -> Iterator[Dependency]:
    for one in json.loads(text):
        for name, how in one["depends"].items():
            yield Dependency(one["patch"], one["variant"], one["target"], name, how)
