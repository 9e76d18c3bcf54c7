"""The null device: shapes as torch has them, values that the host needs, counts, and a library that is safe to load."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fresh_process
import pytest

START = """
import torch
from emulated_npu import null_device
null_device.install("2.11.0")
"""
needs_a_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="compiled with g++")


def run(code: str) -> str:
    done = fresh_process.run(START + code, (), timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_a_compiler
class TestTheDevice:
    def test_results_look_like_torchs_own(self) -> None:
        run("""
x, y = torch.randn(2, 6, 4), torch.randn(6, 4)
weight, bias, image = torch.randn(5, 4), torch.randn(5), torch.randn(2, 3, 8, 8)
index = torch.tensor([[0, 1], [5, 2]])
cases = {
    "add": lambda x, y, weight, bias, image, index: x + y,
    "scalar": lambda x, y, weight, bias, image, index: 2 * x,
    "compare": lambda x, y, weight, bias, image, index: x > y,
    "linear": lambda x, y, weight, bias, image, index: torch.nn.functional.linear(x, weight, bias),
    "norm": lambda x, y, weight, bias, image, index: torch.nn.functional.layer_norm(x, (4,)),
    "matmul": lambda x, y, weight, bias, image, index: x @ x.transpose(1, 2),
    "pad": lambda x, y, weight, bias, image, index: torch.nn.functional.pad(x, (0, 3, 1, 0)),
    "cat": lambda x, y, weight, bias, image, index: torch.cat([x, x], dim=1),
    "stack": lambda x, y, weight, bias, image, index: torch.stack([y, y], dim=-1),
    "index": lambda x, y, weight, bias, image, index: x[:, index],
    "indices": lambda x, y, weight, bias, image, index: x[index % 2, :, index % 4],
    "embedding": lambda x, y, weight, bias, image, index: torch.nn.functional.embedding(index, y),
    "mean": lambda x, y, weight, bias, image, index: x.mean(dim=(0, 2), keepdim=True),
    "sum": lambda x, y, weight, bias, image, index: x.sum(dim=1),
    "repeat": lambda x, y, weight, bias, image, index: y.repeat(3, 1, 2),
    "conv": lambda x, y, weight, bias, image, index: torch.nn.functional.conv2d(image, image[:1, :, :2, :2], stride=2),
    "resize": lambda x, y, weight, bias, image, index: torch.nn.functional.interpolate(image, (5, 7), mode="bicubic"),
    "softmax": lambda x, y, weight, bias, image, index: x.softmax(-1),
    "without a rule": lambda x, y, weight, bias, image, index: torch.special.erfinv(x),
}
given = (x, y, weight, bias, image, index)
there = [each.to("npu") for each in given]
with torch.inference_mode():
    for name, case in cases.items():
        wanted, found = case(*given), case(*there)
        assert (found.shape, found.dtype, str(found.device)) == (wanted.shape, wanted.dtype, "npu:0"), name
""")

    def test_small_whole_numbers_have_their_values(self) -> None:
        run("""
ends = torch.tensor([0, 3, 7, 12], dtype=torch.int32, device="npu")
assert ends.diff().tolist() == [3, 4, 5]
assert ends.max().item() == 12
assert (ends[1:] - ends[:-1]).cumsum(0).cpu().tolist() == [3, 7, 12]
assert torch.arange(3, device="npu").repeat(2).tolist() == [0, 1, 2, 0, 1, 2]
assert ends[ends > 3].tolist() == [7, 12]
""")

    def test_reading_what_was_never_worked_out_is_refused(self) -> None:
        run("""
x = torch.randn(3, device="cpu").to("npu")
for read in (x.cpu, x.tolist, (x + x).sum().item):
    try:
        read()
    except NotImplementedError as error:
        assert "has never worked out its values" in str(error)
    else:
        raise AssertionError("it was read")
""")

    def test_kernels_hidden_copies_and_waits_are_counted(self) -> None:
        run("""
import torch_npu
heads = torch.empty(1, 8, 2, 64, dtype=torch.bfloat16, device="npu")
tables = torch.empty(1, 8, 1, 64, dtype=torch.bfloat16, device="npu")
strided = torch.empty(1, 8, 6, 64, dtype=torch.bfloat16, device="npu")[:, :, ::3]
null_device.begin()
torch_npu.npu_rotary_mul(heads, tables, tables)
assert (null_device.counts().kernels, null_device.counts().hidden) == (1, 0)
torch_npu.npu_rotary_mul(strided, tables, tables)
assert (null_device.counts().kernels, null_device.counts().hidden) == (3, 1)
lengths = torch.tensor([8], dtype=torch.int32)
lengths.to("npu", non_blocking=True)
assert (null_device.counts().waits, null_device.counts().stalls) == (1, 1)
lengths.pin_memory().to("npu", non_blocking=True)
assert null_device.counts().waits == 1
lengths.to("npu").cpu()
assert (null_device.counts().waits, null_device.counts().stalls) == (3, 1)
""")

    def test_a_launch_costs_what_was_asked_for(self) -> None:
        run("""
import time
null_device.set_costs(launch_us=2000)
x = torch.empty(3, device="npu")
start = time.thread_time()
x + x
assert time.thread_time() - start >= 0.002
""")

    def test_streams_and_events_are_there(self) -> None:
        run("""
stream = torch.npu.Stream()
with torch.npu.stream(stream):
    assert torch.npu.current_stream() == stream
    event = torch.npu.Event()
    event.record()
assert torch.npu.current_stream() == torch.npu.default_stream()
stream.wait_event(event)
torch.npu.synchronize()
""")

    def test_every_operator_of_every_release_has_a_rule_or_says_what_is_missing(self) -> None:
        run("""
import torch_npu
lengths = torch.ones(1, dtype=torch.int32, device="npu")
cache = torch.empty(1, 16, 1, 64, device="npu")
try:
    torch.ops.atb.npu_paged_cache_load(cache, cache, lengths[None], lengths)
except NotImplementedError as error:
    assert "has no rule" in str(error)
else:
    raise AssertionError("it has none")
""")


class TestBuilding:
    def tried(self, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        code = "from emulated_npu import null_device; null_device.install()"
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "XDG_CACHE_HOME": str(folder), **environ},
            capture_output=True,
            text=True,
        )

    def test_without_a_compiler_it_says_so(self, tmp_path: Path) -> None:
        done = self.tried(tmp_path, PATH=str(tmp_path))
        assert "there is no compiler: none of g++, clang++ and c++ is on the PATH" in done.stderr

    def test_a_compiler_that_is_named_must_be_there(self, tmp_path: Path) -> None:
        assert "CXX names 'no-such', which is not there" in self.tried(tmp_path, CXX="no-such").stderr

    @needs_a_compiler
    def test_a_cache_that_others_can_write_to_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / "emulated_npu"
        folder.mkdir()
        folder.chmod(0o777)
        assert "others can write to" in " ".join(self.tried(tmp_path).stderr.split())
