"""Asks a real vLLM engine about images, one after the other, and writes its answers as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SIZES = ((224, 168), (280, 224), (168, 336), (252, 252))
"""Of the images; each has several windows of 112 by 112 pixels."""


def question(height: int, width: int) -> list[dict[str, Any]]:
    import numpy
    from PIL import Image

    pixels = numpy.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=numpy.uint8)
    image = {"type": "image_pil", "image_pil": Image.fromarray(pixels)}
    return [{"role": "user", "content": [image, {"type": "text", "text": "What is this?"}]}]


def main() -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=sys.argv[1],
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=1,
        gpu_memory_utilization=0.25,
        limit_mm_per_prompt={"image": 1, "video": 0},
        # Else the encoder would be run, and the patch found out, before there is a request.
        skip_mm_profiling=True,
    )
    sampling = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True, logprobs=3)
    answers = []
    for size in SIZES:
        (answer,) = llm.chat([question(*size)], sampling, use_tqdm=False)
        tokens = answer.outputs[0]
        likely = [{str(token): each.logprob for token, each in step.items()} for step in tokens.logprobs or ()]
        answers.append([list(tokens.token_ids), likely])
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
