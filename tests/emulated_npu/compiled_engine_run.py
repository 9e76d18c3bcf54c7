"""Runs a real vLLM engine whose vision encoder is compiled; writes its answers and what was compiled, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from engine_run import TOKENS, conversations

if __name__ != "__main__":
    # A worker: vLLM's own for CPUs compiles the encoder before it turns gradients off, and then cannot run what it has.
    torch.set_grad_enabled(False)


class Compiled:
    """Added to vLLM's worker class: what the compiler and the toolkit did in its process."""

    def describe_compilation(self) -> dict[str, Any]:
        from torch._dynamo.utils import counters
        from vllm.compilation.counter import compilation_counter

        import ascend_patches

        return {
            "by_vllm": {name: count for name, count in vars(compilation_counter).items() if isinstance(count, int)},
            "graphs": counters["stats"]["unique_graphs"],
            "graph_breaks": sum(counters["graph_break"].values()),
            "compiled_blocks": [not block.do_not_compile for block in self.get_model().visual.blocks],  # type: ignore[attr-defined]
            "patches": {patch["name"]: patch["state"] for patch in ascend_patches.status()["patches"]},
        }


def main() -> None:
    from vllm import LLM, SamplingParams

    checkpoint, report = sys.argv[1], Path(sys.argv[2])
    llm = LLM(
        model=checkpoint,
        dtype="float32",
        max_model_len=1024,
        max_num_seqs=4,
        gpu_memory_utilization=0.25,
        limit_mm_per_prompt={"image": 2},
        compilation_config=json.loads(sys.argv[3]),
        worker_extension_cls="compiled_engine_run.Compiled",
    )
    greedy = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    answers = llm.chat(conversations(), greedy, use_tqdm=False)
    (worker,) = llm.collective_rpc("describe_compilation")
    tokens = [list(answer.outputs[0].token_ids) for answer in answers]
    report.write_text(json.dumps({"tokens": tokens, **worker}, indent=2))


if __name__ == "__main__":
    main()
