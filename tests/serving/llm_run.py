"""A user's script with ``vllm.LLM``: activates the toolkit by hand if asked, answers, and writes what it saw as JSON.

The call stands at the top of the module, because a spawned process runs this part again and nothing below the guard.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if "--apply-patches" in sys.argv:
    from ascend_patches import apply_patches

    apply_patches()


def main() -> None:
    from questions import SETTINGS, conversations
    from vllm import LLM, SamplingParams
    from vllm_processes import roles

    llm = LLM(
        model=sys.argv[1],
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=4,
        gpu_memory_utilization=0.25,
        limit_mm_per_prompt={"image": 2},
    )
    answers = llm.chat(conversations(), SamplingParams(**SETTINGS, ignore_eos=True), use_tqdm=False)
    seen = {
        "tokens": [list(answer.outputs[0].token_ids) for answer in answers],
        "roles": roles(os.getpid()),
        "start method": os.environ.get("VLLM_WORKER_MULTIPROC_METHOD"),
        "modules": [name for name in sys.modules if name.startswith("ascend_patches")],
    }
    # A file, because vLLM still prints while it ends.
    Path(sys.argv[2]).write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
