"""Releases that do not exist yet, and releases that lie: doctored copies of real ones.

Each gets the skip that is right for it, in words that say what moved, and never a patch that does not fit; and code
under a wrong version string gets the variant of its code.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from on_releases.pairs_under_test import OnPair
from releases.compatibility import environment, sources
from releases.pairs import Pair, find
from releases.store import Store

from ascend_patches.deciding.decision import Decision
from ascend_patches.deciding.foresight import foresee
from ascend_patches.deciding.lock import Lock
from ascend_patches.patches import PATCHES
from ascend_patches.settings.model import Settings
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.sources import Roots

pytestmark = pytest.mark.upstream

PAIR = find("vllm-ascend==0.18.0")
PATCH = next(patch for patch in PATCHES if patch.name == "mm-encoder-attention")
FILE = "vllm_ascend/ops/mm_encoder_attention.py"
MODULE = "vllm_ascend.ops.mm_encoder_attention"
SCRIPT = Path(__file__).with_name("state_of_patches.py")

Edit = Callable[[str], str]


def decide(where: Environment, code: Roots) -> Decision:
    choice = Settings(enable=frozenset({PATCH.name})).choice(PATCH, where)
    return foresee(PATCH, choice, where, Lock.read(), code)


def copy_of(pair: Pair, store: Store, folder: Path, package: str = "vllm_ascend") -> Path:
    """A copy of a package's files, in hard links; a file that is written again is no link any more."""
    (site,) = [site for site in map(store.site, pair.upstream) if (site / package).is_dir()]
    shutil.copytree(site, folder, copy_function=os.link)
    return folder


def rewrite(file: Path, edit: Edit) -> None:
    text = file.read_text(encoding="utf-8")
    edited = edit(text)
    assert edited != text
    file.unlink()
    file.write_text(edited, encoding="utf-8")


def under_version(folder: Path, version: str) -> None:
    """Have the metadata state another version."""
    (metadata,) = folder.glob("vllm_ascend-*.dist-info/METADATA")
    rewrite(metadata, lambda text: re.sub(r"(?m)^Version: .*$", f"Version: {version}", text, count=1))


CHANGES: dict[str, tuple[Edit, str]] = {
    "the method renamed": (
        lambda text: text.replace("def forward_oot(", "def forward_npu("),
        "__fingerprint__",
    ),
    "the class renamed": (
        lambda text: text.replace("class AscendMMEncoderAttention", "class AscendEncoderAttention"),
        f"{MODULE}:AscendMMEncoderAttention.forward_oot: module {MODULE} has no class AscendMMEncoderAttention",
    ),
    "an argument added": (
        lambda text: re.sub(r"def forward_oot\(\s*self,", "def forward_oot(self, window: int,", text),
        "__fingerprint__",
    ),
    "the body changed": (
        lambda text: re.sub(r"(def forward_oot\([^)]*\)[^:]*:\n)", r"\1        torch.npu.synchronize()\n", text),
        "__fingerprint__",
    ),
    "what it relies on changed": (
        lambda text: re.sub(r"(def __init__\([^)]*\)[^:]*:\n)", r"\1        self.window = None\n", text),
        "__fingerprint__",
    ),
    "the class split": (
        lambda text: text.replace(
            "class AscendMMEncoderAttention(",
            "class AscendMMEncoderAttention:\n    pass\n\n\nclass AscendMMEncoderAttentionKernel(",
        ),
        f"{MODULE}:AscendMMEncoderAttention.forward_oot: class AscendMMEncoderAttention has no function forward_oot",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_release_is_skipped_and_the_reason_says_what_changed(
    change: str, store: Store, tmp_path: Path
) -> None:
    edit, words = CHANGES[change]
    folder = copy_of(PAIR, store, tmp_path / "site")
    rewrite(folder / FILE, edit)
    decided = decide(environment(PAIR), Roots([folder, *_vllm(store)]))
    assert (decided.verdict, decided.kind) == ("skip", "changed")
    assert decided.reason.startswith("upstream changed: ")
    if words == "__fingerprint__":
        assert "never verified against this code" in decided.reason
        assert "ascend-patches diff mm-encoder-attention" in decided.reason
    else:
        assert words in decided.reason


def test_a_module_that_moved_is_named(store: Store, tmp_path: Path) -> None:
    folder = copy_of(PAIR, store, tmp_path / "site")
    (folder / FILE).rename(folder / "vllm_ascend" / "encoder_attention.py")
    decided = decide(environment(PAIR), Roots([folder, *_vllm(store)]))
    assert (decided.verdict, decided.kind) == ("skip", "changed")
    assert f"there is no module {MODULE}" in decided.reason


LIES = {
    "newer code under an older version": ("vllm-ascend==0.23.0", "0.18.0"),
    "older code under a newer version": ("vllm-ascend==0.18.0", "0.23.0"),
    "a nightly that kept an old version": ("vllm-ascend==0.26.0rc1", "0.19.1rc2.dev1265+g1a2b3c4"),
    "code under a version that no variant is for": ("vllm-ascend==0.23.0", "0.10.0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_code_under_a_wrong_version_gets_the_variant_of_its_code(lie: str, store: Store) -> None:
    name, version = LIES[lie]
    pair = find(name)
    honest = decide(environment(pair), sources(pair, store))
    lied = decide(Environment({"vllm": pair.vllm, "vllm-ascend": version}), sources(pair, store))
    assert honest.verdict == lied.verdict == "apply"
    assert lied.variant == honest.variant
    if lied.kind:
        assert (lied.kind, "the version string is not to be trusted" in lied.reason) == ("lying version", True)


def test_a_live_process_on_a_lying_release_applies_the_variant_of_its_code(
    store: Store, tmp_path: Path, on_pair: OnPair
) -> None:
    folder = copy_of(PAIR, store, tmp_path / "site")
    under_version(folder, "0.23.0")
    seen = on_pair(PAIR, SCRIPT, MODULE, in_front=[folder])
    assert (seen["state"], seen["variant"]) == ("applied", "vllm-ascend-0.18")
    assert "the version string is not to be trusted" in seen["reason"]


def test_a_live_process_on_a_changed_release_leaves_it_as_it_is(store: Store, tmp_path: Path, on_pair: OnPair) -> None:
    folder = copy_of(PAIR, store, tmp_path / "site")
    rewrite(folder / FILE, CHANGES["the body changed"][0])
    seen = on_pair(PAIR, SCRIPT, MODULE, in_front=[folder])
    assert (seen["state"], seen["replaced"]) == ("skipped", False)
    assert "upstream changed" in seen["reason"]


@pytest.mark.parametrize(("unknown", "state"), [("skip", "skipped"), ("apply", "applied")])
def test_a_live_process_patches_changed_code_only_if_the_settings_say_so(
    unknown: str, state: str, store: Store, tmp_path: Path, on_pair: OnPair
) -> None:
    folder = copy_of(PAIR, store, tmp_path / "site", "vllm")
    forward = r"(class Qwen3_VisionTransformer\(.*?    def forward\([^)]*\)[^:]*:\n)"
    changed = r"\1        unheard_of = None\n"
    file = folder / "vllm/model_executor/models/qwen3_vl.py"
    rewrite(file, lambda text: re.sub(forward, changed, text, count=1, flags=re.DOTALL))
    (settings := tmp_path / "patches.toml").write_text(f'unknown = "{unknown}"\n', encoding="utf-8")
    script = SCRIPT.with_name("unknown_code_run.py")
    seen = on_pair(PAIR, script, in_front=[folder], ASCEND_PATCHES_CONFIG=str(settings))
    assert (seen["state"], seen["replaced"]) == (state, unknown == "apply")
    assert "never verified against this code" in seen["reason"]


def _vllm(store: Store) -> list[Path]:
    return [store.site(one) for one in PAIR.upstream if one.name != "vllm-ascend"]
