"""ascend-patches verify on released code: it refuses what is wrong, and says what it found of what is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from on_releases.pairs_under_test import OnPair, by_name
from releases.pairs import Pair, find
from tiny_qwen3_vl import write

SCRIPT = Path(__file__).with_name("verify_run.py")
ASCEND = find("vllm-ascend==0.18.0")
NEWEST = find("vllm-ascend==0.30.0rc2")
ALONE = find("vllm==0.32.0")
ATTENTION = "vllm_ascend.ops.mm_encoder_attention:AscendMMEncoderAttention"
pytestmark = pytest.mark.upstream

# Keeps the lengths that the first layer was given for all layers, as vllm-ascend #6448 did.
LAYER_INDEX_CACHE = """
from ascend_patches import Patch, Rewrite, Variant, installed

KEPT = {{}}

def remember_number(wrapped, instance, args, kwargs):
    wrapped(*args, **kwargs)
    instance.number = int("".join(filter(str.isdigit, kwargs["prefix"])))

def with_kept_boundaries(wrapped, instance, args, kwargs):
    if instance.number == 0:
        KEPT["boundaries"] = kwargs["cu_seqlens"]
    kwargs["cu_seqlens"] = KEPT["boundaries"]
    return wrapped(*args, **kwargs)

PATCH = Patch(
    name="layer-index-cache",
    summary="sequence lengths read by the first layer only",
    checks={checks!r},
    variants=(
        Variant(
            "every",
            installed("vllm-ascend"),
            (
                Rewrite("{attention}.__init__", around=remember_number),
                Rewrite("{attention}.forward_oot", around=with_kept_boundaries),
            ),
        ),
    ),
)
"""
ENCODERS_OF_OURS = "ascend_patches.patches.vision_seq_lens.checks:CHECKS"


@pytest.fixture(scope="module")
def verify(on_pair: OnPair) -> Callable[..., Any]:
    def run(pair: Pair, *arguments: str, **given: Any) -> Any:
        return on_pair(pair, SCRIPT, "verify", *arguments, ASCEND_PATCHES_RELEASE_FLOAT32="1", **given)

    return run


def stranger(folder: Path, checks: str) -> tuple[Path, str]:
    """A distribution with the wrong patch, and settings that let it be applied to code nobody verified it for."""
    (folder / "layer_index_cache.py").write_text(LAYER_INDEX_CACHE.format(checks=checks, attention=ATTENTION))
    metadata = folder / "layer_index_cache-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: layer-index-cache\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[ascend_patches.patches]\nall = layer_index_cache:PATCH\n")
    settings = folder / "patches.toml"
    settings.write_text('[patches.layer-index-cache]\nunknown = "apply"\n')
    return folder, str(settings)


@pytest.fixture(scope="module")
def refused(verify: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What verify says of the wrong patch."""
    folder, settings = stranger(tmp_path_factory.mktemp("stranger"), ENCODERS_OF_OURS)
    return verify(ASCEND, "layer-index-cache", "--emulated", "--json", "--config", settings, in_front=[folder])


class TestAWrongPatch:
    def test_is_refused(self, refused: Any) -> None:
        assert refused["code"] == 1

    def test_is_found_where_windows_and_full_attention_alternate_and_nowhere_else(self, refused: Any) -> None:
        cases = json.loads(refused["output"])["cases"]
        different = {case["case"].partition(":")[0] for case in cases if case["problem"]}
        assert different == {"Qwen2.5-VL"}
        assert {case["case"].partition(":")[0] for case in cases} > different

    def test_is_named_with_the_case_and_the_error(self, refused: Any) -> None:
        first = json.loads(refused["output"])["differences"][0]
        assert first.startswith("layer-index-cache: Qwen2.5-VL: images and a video, float32: not the bits of upstream")
        assert "off by" in first

    def test_is_far_from_float64_where_upstream_is_near(self, refused: Any) -> None:
        case = next(case for case in json.loads(refused["output"])["cases"] if case["problem"])
        assert case["original"]["error"] < 1e-5 < case["patched"]["error"]


def test_a_patch_without_checks_is_refused(verify: Callable[..., Any], tmp_path: Path) -> None:
    folder, settings = stranger(tmp_path, "")
    said = verify(ASCEND, "layer-index-cache", "--emulated", "--config", settings, in_front=[folder])
    assert said["code"] == 1
    assert "DIFFERENT: layer-index-cache is applied and declares no checks" in said["output"]


@pytest.fixture(scope="module")
def right(verify: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What verify says of two patches of ours, and what it leaves in a file."""
    report = tmp_path_factory.mktemp("report") / "verified.json"
    said = verify(ASCEND, "rotary-embedding", "mla-kv-overlap", "--emulated", "--report", str(report))
    return {**said, "report": json.loads(report.read_text(encoding="utf-8"))}


class TestARightPatch:
    def test_passes(self, right: Any) -> None:
        assert right["code"] == 0
        assert "no difference" in right["output"].splitlines()[-1]

    def test_is_verified_also_where_it_is_off_by_default(self, right: Any) -> None:
        assert {case["patch"] for case in right["report"]["cases"]} == {"rotary-embedding", "mla-kv-overlap"}

    def test_has_errors_and_costs_of_both_sides(self, right: Any) -> None:
        case = next(case for case in right["report"]["cases"] if case["expected"] == "bitwise")
        assert case["bitwise"]
        for side in (case["original"], case["patched"]):
            assert side["error"] < 1e-2
            assert side["waits"] >= side["copies"]
            assert side["copies"] == 0

    def test_leaves_a_report_that_says_where_and_with_what(self, right: Any) -> None:
        report = right["report"]
        assert report["device"] == {"name": "emulated NPU", "emulated": True, "torch_npu": "2.9.0"}
        assert report["versions"]["vllm-ascend"] == "0.18.0"
        assert {"date", "settings", "mode", "environment", "identity", "seconds"} <= report.keys()

    def test_shows_what_upstream_refuses_beside_what_the_patch_gives(self, right: Any) -> None:
        line = next(line for line in right["output"].splitlines() if line.startswith("interleaved, partial"))
        assert line.split()[2:4] == ["refused", "->"]


@by_name([ALONE, ASCEND])
def test_whole_forwards_of_a_checkpoint(pair: Pair, verify: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path)
    said = verify(pair, "--model", str(tmp_path), "--emulated", "--json")
    found = json.loads(said["output"])
    assert (said["code"], found["differences"]) == (0, [])
    assert (found["encoder"], found["weights"]) == ("Qwen3-VL", "of the checkpoint")
    assert {"one image", "a video"} < {case["case"] for case in found["cases"]}
    assert all(case["patched"]["copies"] == 0 for case in found["cases"])
    assert all(case["patched"]["dispatches"] < case["original"]["dispatches"] for case in found["cases"])


VISION_OF_SIGLIP = {
    "hidden_size": 144,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "image_size": 56,
    "patch_size": 4,
}
VISION_OF_DOTS = {
    "embed_dim": 144,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 4,
    "num_channels": 3,
    "temporal_patch_size": 1,
    "spatial_merge_size": 2,
    "rms_norm_eps": 1e-5,
    "use_bias": False,
    "post_norm": True,
}


@pytest.mark.parametrize(
    ("model_type", "vision", "encoder"),
    [
        pytest.param("paddleocr_vl", VISION_OF_SIGLIP, "PaddleOCR-VL", id="known to transformers"),
        pytest.param("dots_ocr", VISION_OF_DOTS, "dots.ocr", id="with a class of its own"),
    ],
)
def test_whole_forwards_of_an_encoder_that_is_a_row(
    model_type: str, vision: dict[str, Any], encoder: str, verify: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "vision_config": vision}))
    said = verify(NEWEST, "--model", str(tmp_path), "--emulated", "--json")
    found = json.loads(said["output"])
    assert (said["code"], found["encoder"], found["differences"]) == (0, encoder, [])
    assert all(case["patched"]["copies"] == 0 for case in found["cases"])
    assert all(case["original"]["copies"] > 0 for case in found["cases"])


def test_a_checkpoint_without_weights_is_run_with_random_ones(verify: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    found = json.loads(verify(ASCEND, "--model", str(tmp_path), "--emulated", "--json")["output"])
    assert found["weights"].startswith("random")
    assert found["differences"] == []


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        pytest.param('{"model_type": "llama"}', "is a 'llama', whose vision encoder cannot be built", id="text"),
        pytest.param("{", "config.json cannot be read", id="broken"),
        pytest.param("[]", "is no configuration of a model", id="odd"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_named(
    configuration: str, words: str, verify: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(configuration)
    said = verify(ASCEND, "--model", str(tmp_path), "--emulated")
    assert said["code"] == 1
    assert words in said["errors"]


def test_a_name_that_no_patch_has_is_named(verify: Callable[..., Any]) -> None:
    said = verify(ASCEND, "rotary", "--emulated")
    assert said["code"] == 1
    assert "there is no patch 'rotary'" in said["errors"]


def test_without_an_npu_it_says_how_to_go_on(verify: Callable[..., Any]) -> None:
    said = verify(ASCEND)
    assert said["code"] == 1
    assert "ascend-patches verify --emulated" in said["errors"]
