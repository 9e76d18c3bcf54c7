"""tools/bench_vision: what it writes, without measuring anything, and what the package carries of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from vision_bench import report, stand_ins

import emulated_npu
from ascend_patches.commands import measured
from ascend_patches.patches import PATCHES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks-vision"


def cost(copies: int, dispatches: float) -> dict[str, float]:
    return {
        "copies": copies,
        "dispatches": dispatches,
        "kernels": dispatches / 2,
        "attention_dispatches": 12.0,
        "attention_kernels": 5.0,
    }


def results(**times: Any) -> dict[str, Any]:
    encoder = {
        "upstream": cost(27, 54.9),
        "patched": cost(0, 22.6),
        "difference": {"float32": 0.0, "bfloat16": 0.0},
    }
    release = {
        "encoders": {"Qwen3-VL": encoder},
        "times": {"devices": times, "of": {device: device.upper() for device in times}},
    }
    return {"measured": "2026-01-02", "layers": 27, "releases": {"vllm-ascend==0.23.0": release}}


TIMES = {"Qwen3-VL": {"upstream": 20.0, "patched": 15.0}}


class TestThePage:
    def test_has_upstream_and_patched_side_by_side(self) -> None:
        row = "| Qwen3-VL | vllm-ascend==0.23.0 | 27 -> 0 | 54.9 -> 22.6 | 12.0 -> 12.0 | 5.0 -> 5.0 | 0, 0 |"
        assert row in report.page(results()).splitlines()

    def test_says_when_it_was_measured(self) -> None:
        assert "Measured on 2026-01-02." in report.page(results())

    def test_has_times_and_their_ratio(self) -> None:
        page = report.page(results(cpu=TIMES)).splitlines()
        assert "| Qwen3-VL | vllm-ascend==0.23.0 | cpu | 20.0 -> 15.0 | 0.75 |" in page

    def test_says_what_times_on_a_cpu_are_worth(self) -> None:
        assert "say little about an NPU" in report.page(results(cpu=TIMES))

    def test_says_that_there_was_no_cuda(self) -> None:
        assert "There was no CUDA to time on." in report.page(results(cpu=TIMES))

    def test_does_not_say_so_where_there_was(self) -> None:
        page = report.page(results(cpu=TIMES, cuda=TIMES))
        assert "| Qwen3-VL | vllm-ascend==0.23.0 | cuda | 20.0 -> 15.0 | 0.75 |" in page.splitlines()
        assert "no CUDA" not in page

    def test_has_no_times_where_none_were_taken(self) -> None:
        assert "## Times" not in report.page(results())


class TestWhatThePackageCarries:
    def test_is_what_the_page_was_made_of(self) -> None:
        found = json.loads(DOCS.with_suffix(".json").read_text(encoding="utf-8"))
        packaged = json.loads((ROOT / "ascend_patches" / "commands" / "measured.json").read_text(encoding="utf-8"))
        assert packaged == report.carried(found), "run tools/bench_vision --write"
        assert DOCS.with_suffix(".md").read_text(encoding="utf-8").startswith(report.page(found))
        assert DOCS.with_suffix(".svg").read_text(encoding="utf-8") == report.plot(found)

    def test_is_about_patches_that_there_are(self) -> None:
        assert set(report.carried(results())) <= {patch.name for patch in PATCHES}

    def test_says_what_each_release_cost_before_and_after(self) -> None:
        about, line = measured.in_words(report.carried(results())["qwen3-vl-vision"])
        assert about == "a forward of 27 layers on the emulated NPU, all vision patches off -> on; 2026-01-02"
        assert line == (
            "Qwen3-VL, vllm-ascend 0.23.0: copies 27 -> 0, kernels per layer 27.4 -> 11.3, "
            "dispatches per layer 54.9 -> 22.6"
        )

    def test_is_nothing_for_a_patch_that_was_not_measured(self) -> None:
        assert measured.of_patch("a-stranger's") is None


class TestExplain:
    @pytest.mark.parametrize(
        "patch", ["mm-encoder-attention", "rotary-embedding", "qwen3-vl-vision", "vision-seq-lens"]
    )
    def test_shows_the_numbers_of_a_patch(self, patch: str) -> None:
        found = measured.of_patch(patch)
        assert found is not None
        said = " ".join(explain(patch).split())
        assert [line for line in measured.in_words(found) if line not in said] == []

    def test_has_them_as_data(self) -> None:
        data = json.loads(explain("qwen3-vl-vision", "--json"))
        assert data["measured"] == measured.of_patch("qwen3-vl-vision")

    def test_says_nothing_of_a_patch_that_was_not_measured(self) -> None:
        assert json.loads(explain("mla-multistream", "--json"))["measured"] is None


def explain(*arguments: str) -> str:
    command = [sys.executable, "-m", "ascend_patches", "explain", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.fixture(scope="module")
def ops() -> Any:
    """torch_npu's ops, which on tensors of the CPU are the stand-ins."""
    emulated_npu.install(allow_float32=True)
    libraries = stand_ins.install("cpu")
    import torch_npu

    yield torch_npu
    for library in libraries:
        library._destroy()


class TestTheStandIns:
    """They compute what the emulated ops compute, so that a timing is one of the same work."""

    @pytest.mark.parametrize("mode", ["half", "interleave"])
    def test_turn_as_the_op_does(self, ops: Any, mode: str) -> None:
        x, cos, sin = torch.randn(1, 6, 2, 64), torch.randn(1, 6, 1, 64), torch.randn(1, 6, 1, 64)
        expected = ops.npu_rotary_mul(x.to("npu"), cos.to("npu"), sin.to("npu"), rotary_mode=mode).cpu()
        assert torch.allclose(ops.npu_rotary_mul(x, cos, sin, rotary_mode=mode), expected, atol=1e-5)

    @pytest.mark.parametrize("op", ["fusion", "fused_infer", "unpad"])
    def test_attend_as_the_op_does(self, ops: Any, op: str) -> None:
        tensors = [torch.randn(6, 2, 128).half() for _ in range(3)]
        expected = ATTENTION[op](ops, *(tensor.to("npu") for tensor in tensors)).cpu()
        assert torch.allclose(ATTENTION[op](ops, *tensors), expected, atol=2e-3)


def fusion(ops: Any, *qkv: torch.Tensor) -> torch.Tensor:
    return ops.npu_fusion_attention(*qkv, 2, "TND", scale=0.1, actual_seq_qlen=[2, 6], actual_seq_kvlen=[2, 6])[0]


def fused_infer(ops: Any, *qkv: torch.Tensor) -> torch.Tensor:
    ends = {"actual_seq_lengths": [2, 6], "actual_seq_lengths_kv": [2, 6]}
    return ops.npu_fused_infer_attention_score(*qkv, num_heads=2, scale=0.1, input_layout="TND", **ends)[0]


def unpad(ops: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(query)
    ops._npu_flash_attention_unpad(
        query=query,
        key=key,
        value=value,
        seq_len=torch.tensor([2, 4], dtype=torch.int32),
        scale_value=0.1,
        num_heads=2,
        num_kv_heads=2,
        out=out,
    )
    return out


ATTENTION = {"fusion": fusion, "fused_infer": fused_infer, "unpad": unpad}
