"""One engine: answers batches of requests, a line of JSON in for a line of JSON out, until there are no more.

serve.py CHECKPOINT DTYPE [storms]       storms: {"storm": WHAT} does that to the patches of the workers
"""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Any

TOKENS = 8
MOST_PICTURES = 3


def main() -> None:
    # The lines that are answers keep stdout for themselves; whatever vLLM prints goes where its log goes.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams

    storms = {"worker_extension_cls": "engines.storm_in_worker.StormInWorker"} if "storms" in sys.argv[3:] else {}
    llm = LLM(
        model=sys.argv[1],
        dtype=sys.argv[2],
        enforce_eager=True,
        max_model_len=2048,
        max_num_seqs=8,
        gpu_memory_utilization=0.25,
        limit_mm_per_prompt={"image": MOST_PICTURES, "video": 1},
        # Small caches are full soon; large ones fill for hours, which looks like growth.
        mm_processor_cache_gb=0.02,
        num_gpu_blocks_override=256,
        **storms,
    )
    greedy = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True, logprobs=2)
    _say(answers, _surroundings())
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, dict):
            _say(answers, llm.collective_rpc("storm", args=(asked["storm"], asked["patch"]))[0])
            continue
        outputs = llm.generate([_prompt(request) for request in asked], greedy, use_tqdm=False)
        _say(answers, [_answer(output.outputs[0]) for output in outputs])


def _say(answers: Any, what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _surroundings() -> dict[str, Any]:
    import torch
    import vllm
    from vllm.platforms import current_platform

    return {
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": type(current_platform).__name__,
    }


def _prompt(request: dict[str, Any]) -> dict[str, Any]:
    """The request as vLLM takes it, with pixels that its seed decides."""
    import numpy
    from PIL import Image

    pixels = numpy.random.default_rng(request["seed"])

    def drawn(*shape: int) -> Any:
        return pixels.integers(0, 256, (*shape, 3), dtype=numpy.uint8)

    seen: dict[str, Any] = {}
    marks = "<|vision_start|><|image_pad|><|vision_end|>" * len(request["pictures"])
    if request["pictures"]:
        seen["image"] = [Image.fromarray(drawn(*size)) for size in request["pictures"]]
    if request["video"] is not None:
        frames = request["video"][0]
        about = {
            "fps": 2.0,
            "duration": frames / 2.0,
            "total_num_frames": frames,
            "frames_indices": list(range(frames)),
            "video_backend": "none",
            "do_sample_frames": False,
        }
        seen["video"] = [(drawn(*request["video"]), about)]
        marks += "<|vision_start|><|video_pad|><|vision_end|>"
    text = f"<|im_start|>user\n{marks}{request['words']}<|im_end|>\n<|im_start|>assistant\n"
    return {"prompt": text, "multi_modal_data": seen}


def _answer(output: Any) -> dict[str, Any]:
    """The tokens, and for each step the two likeliest ones with their log-probabilities."""
    best = [
        sorted(((token, found.logprob) for token, found in step.items()), key=lambda pair: -pair[1])[:2]
        for step in output.logprobs
    ]
    return {"tokens": list(output.token_ids), "best": best}


if __name__ == "__main__":
    main()
