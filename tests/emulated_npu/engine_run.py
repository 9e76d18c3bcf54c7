"""Runs a real vLLM engine once; writes what it answered, and which forwards its ops ran, as JSON."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

TOKENS = 12


def counting(function: Any, calls: Counter[str], key: str) -> Any:
    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[key] += 1
        return function(*args, **kwargs)

    return counted


class Watch:
    """Added to vLLM's worker class: counts the calls of every forward that the op dispatch picked."""

    def watch_forwards(self) -> None:
        self.forward_calls: Counter[str] = Counter()
        for module in self.get_model().modules():  # type: ignore[attr-defined]
            picked = getattr(module, "_forward_method", None)
            if picked is not None:
                key = f"{type(module).__name__}.{picked.__name__}"
                module._forward_method = counting(picked, self.forward_calls, key)

    def describe_worker(self) -> dict[str, Any]:
        from vllm.platforms import current_platform

        return {
            "platform": type(current_platform).__name__,
            "torch_npu": getattr(sys.modules.get("torch_npu"), "__version__", None),
            "forwards": dict(self.forward_calls),
            "pid": os.getpid(),
        }


def conversations() -> list[list[dict[str, Any]]]:
    """Requests with no image, one image and two images of different sizes."""
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(7)

    def image(height: int, width: int) -> dict[str, Any]:
        pixels = random.integers(0, 256, (height, width, 3), dtype=numpy.uint8)
        return {"type": "image_pil", "image_pil": Image.fromarray(pixels)}

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words}

    return [
        [{"role": "user", "content": [text("Hello")]}],
        [{"role": "user", "content": [image(64, 64), text("What is this?")]}],
        [{"role": "user", "content": [image(96, 160), image(128, 64), text("Compare.")]}],
        [{"role": "user", "content": [image(64, 64), text("What is this?")]}],
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("report", type=Path)
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--executor")
    arguments = parser.parse_args()

    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    llm = LLM(
        model=arguments.checkpoint,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=4,
        gpu_memory_utilization=0.25,
        limit_mm_per_prompt={"image": 2},
        tensor_parallel_size=arguments.tensor_parallel,
        distributed_executor_backend=arguments.executor,
        worker_extension_cls="engine_run.Watch",
    )
    llm.collective_rpc("watch_forwards")
    greedy = SamplingParams(temperature=0.0, max_tokens=TOKENS, ignore_eos=True)
    answers = llm.chat(conversations(), greedy, use_tqdm=False)
    arguments.report.write_text(
        json.dumps(
            {
                "tokens": [list(answer.outputs[0].token_ids) for answer in answers],
                "platform": type(current_platform).__name__,
                "torchvision": "torchvision" in sys.modules,
                "pid": os.getpid(),
                "workers": llm.collective_rpc("describe_worker"),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
