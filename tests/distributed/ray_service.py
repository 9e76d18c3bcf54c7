"""A service on Ray: answers the same requests over and over; each round is one line of JSON on standard output."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from typing import Any

from engine_run import conversations


class Place:
    """Added to vLLM's worker class: says where a worker is."""

    def describe_place(self) -> dict[str, Any]:
        import ray

        return {"pid": os.getpid(), "node": ray.util.get_node_ip_address()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--rounds", type=int, help="until it is stopped, if not given")
    parser.add_argument("--on-ray", action="store_true", help="on two Ray workers instead of in this process")
    arguments = parser.parse_args()
    # Everybody else's output, that of the processes to come included, goes where errors go.
    answers_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from vllm import LLM, SamplingParams

    parallel: dict[str, Any] = {"tensor_parallel_size": 2, "distributed_executor_backend": "ray"}
    llm = LLM(
        model=arguments.checkpoint,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=4,
        gpu_memory_utilization=0.25,
        limit_mm_per_prompt={"image": 2},
        worker_extension_cls="ray_service.Place",
        **(parallel if arguments.on_ray else {}),
    )
    workers = llm.collective_rpc("describe_place") if arguments.on_ray else []
    greedy = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
    for _ in itertools.count() if arguments.rounds is None else range(arguments.rounds):
        answers = llm.chat(conversations(), greedy, use_tqdm=False)
        tokens = [list(answer.outputs[0].token_ids) for answer in answers]
        print(json.dumps({"tokens": tokens, "workers": workers, "driver": os.getpid()}), file=answers_to, flush=True)


if __name__ == "__main__":
    main()
