"""Calibrates the null device: what its operators cost the host, and that time grows with operators and layers.

python -m emulated_npu.null_device [--launch-us N] [--wait-us N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from emulated_npu._errors import EmulatedNpuError

from . import counts, install, set_costs

_CALLS = 300
_ROUNDS = 9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launch-us", type=float, default=0.0, help="added for each kernel")
    parser.add_argument("--wait-us", type=float, default=0.0, help="added for each wait")
    arguments = parser.parse_args()
    try:
        install()
    except EmulatedNpuError as error:
        print(f"null device: {error}", file=sys.stderr)
        return 2
    set_costs(launch_us=arguments.launch_us, wait_us=arguments.wait_us)
    torch.set_num_threads(1)
    with torch.inference_mode():
        print("operator, microseconds of the thread's time")
        for name, call in operators().items():
            print(f"  {name:<40} {microseconds(call):7.2f}")
        print("kernels of one call, microseconds, microseconds of each")
        for title, growing in (("operators", chained), ("layers", layered)):
            for many in (10, 20, 40, 80):
                call = growing(many)
                before = counts().kernels
                call()
                kernels, taken = counts().kernels - before, microseconds(call, 20)
                print(f"  {many:>3} {title:<10} {kernels:5} {taken:9.1f} {taken / kernels:7.2f}")
    return 0


def microseconds(call: Callable[[], Any], calls: int = _CALLS) -> float:
    """The median over some rounds of one call's time."""
    found = []
    for _ in range(_ROUNDS):
        start = time.thread_time_ns()
        for _ in range(calls):
            call()
        found.append((time.thread_time_ns() - start) / calls / 1000)
    return statistics.median(found)


def operators() -> dict[str, Callable[[], Any]]:
    """Calls of the operators that vision encoders are made of."""
    import torch_npu

    x = torch.empty(100, 144, dtype=torch.bfloat16, device="npu")
    weight, bias = torch.empty(288, 144, dtype=x.dtype, device="npu"), torch.empty(288, dtype=x.dtype, device="npu")
    gain = torch.empty(144, dtype=x.dtype, device="npu")
    heads = torch.empty(100, 2, 72, dtype=x.dtype, device="npu")
    tables = torch.empty(1, 100, 1, 72, dtype=x.dtype, device="npu")
    output, lengths, ends = torch.empty_like(heads), torch.tensor([50, 50], dtype=torch.int32), [50, 100]
    ints = torch.tensor([50, 50], dtype=torch.int32, device="npu")
    return {
        "nothing": lambda: None,
        "view": lambda: x.view(-1),
        "add": lambda: torch.add(x, x),
        "linear": lambda: functional.linear(x, weight, bias),
        "layer_norm": lambda: functional.layer_norm(x, (144,), gain, gain),
        "gelu": lambda: functional.gelu(x),
        "cat": lambda: torch.cat((x, x)),
        "npu_rms_norm": lambda: torch_npu.npu_rms_norm(x, gain),
        "npu_rotary_mul": lambda: torch_npu.npu_rotary_mul(heads.unsqueeze(0), tables, tables),
        "_npu_flash_attention_unpad": lambda: torch_npu._npu_flash_attention_unpad(
            query=heads,
            key=heads,
            value=heads,
            seq_len=lengths,
            scale_value=1.0,
            num_heads=2,
            num_kv_heads=2,
            out=output,
        ),
        "npu_fusion_attention": lambda: torch_npu.npu_fusion_attention(
            heads, heads, heads, 2, "TND", actual_seq_qlen=ends, actual_seq_kvlen=ends
        ),
        "npu_fused_infer_attention_score": lambda: torch_npu.npu_fused_infer_attention_score(
            heads, heads, heads, num_heads=2, input_layout="TND", actual_seq_lengths=ends, actual_seq_lengths_kv=ends
        ),
        "a copy to the device, which waits": lambda: lengths.to("npu"),
        "a copy to the host, which waits": lambda: ints.cpu(),
    }


def chained(many: int) -> Callable[[], Any]:
    """So many additions, one after another."""
    x = torch.empty(100, 144, dtype=torch.bfloat16, device="npu")

    def call() -> None:
        for _ in range(many):
            torch.add(x, x)

    return call


def layered(many: int) -> Callable[[], Any]:
    """So many layers of a small network."""
    layer = (torch.nn.LayerNorm(144), torch.nn.Linear(144, 288), torch.nn.GELU(), torch.nn.Linear(288, 144))
    network = torch.nn.Sequential(*[part for _ in range(many) for part in layer]).to(torch.bfloat16).to("npu")
    x = torch.empty(100, 144, dtype=torch.bfloat16, device="npu")
    return lambda: network(x)


if __name__ == "__main__":
    sys.exit(main())
