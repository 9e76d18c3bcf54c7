"""Run on one release: vision encoders on two ranks, as upstream and patched. Prints one JSON object.

parallel_encoders_run.py                    starts the two ranks and gathers what they found
parallel_encoders_run.py RANK RENDEZVOUS    one of them
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.distributed

import ascend_patches
import emulated_npu
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS, Grids

RANKS = 2
LAYERS = 2
LONGEST = 240
"""Seconds after which two ranks wait for each other for ever."""
# Images only: for a video of Kimi-K2.5 releases hand out memory that nothing was written to.
INPUTS: dict[str, Grids] = {"three images": [[1, 4, 6], [1, 8, 4], [1, 2, 2]], "one image": [[1, 4, 6]]}
"""Of shared data, one image leaves one rank without any."""
ROPE = {
    "Qwen3-VL": "rope_3d",
    "Qwen2.5-VL": "rope_3d",
    "Qwen2-VL": "rope_3d",
    "GLM-4.1V": "rope_3d",
    "Kimi-K2.5": "rope_2d",
}
"""In which form a model that shares data has its positions."""
SHARED_WEIGHTS = ("Qwen3-VL", "Qwen2.5-VL", "Qwen2-VL", "GLM-4.1V")


def both() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            subprocess.Popen(
                [sys.executable, __file__, str(rank), str(Path(folder, "rendezvous"))],
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(RANKS)
        ]
        try:
            said = [rank.communicate(timeout=LONGEST)[0] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        if any(rank.returncode for rank in ranks):
            raise SystemExit("a rank failed; what it said is above")
        return {"ranks": [json.loads(each.strip().splitlines()[-1]) for each in said]}


def one(rank: int, rendezvous: Path) -> dict[str, Any]:
    enter(rank, rendezvous)
    with torch.inference_mode():
        upstream = outputs()
        status = ascend_patches.apply_patches()
        patched = outputs()
    return {
        "patches": {patch["name"]: patch["state"] for patch in status["patches"]},
        "outputs": {
            case: {
                "equal": torch.equal(upstream[case], patched[case]),
                "near": torch.allclose(upstream[case], patched[case], rtol=1e-4, atol=1e-4),
                "sum": float(patched[case].double().sum()),
            }
            for case in upstream
        },
    }


def enter(rank: int, rendezvous: Path) -> None:
    """One of the ranks of a world on loopback; its tensors are sent from the host, where gloo can reach them."""
    if not emulated_npu.installed():
        emulated_npu.install(allow_float32=True)
    state = importlib.import_module("vllm.distributed.parallel_state")
    with world.configured():
        state.init_distributed_environment(
            world_size=RANKS, rank=rank, local_rank=0, distributed_init_method=rendezvous.as_uri(), backend="gloo"
        )
        state.initialize_model_parallel(RANKS)
    state.GroupCoordinator.all_reduce = all_reduce
    state.GroupCoordinator.all_gather = all_gather
    world.enter()


def all_reduce(group: Any, tensor: torch.Tensor) -> torch.Tensor:
    on_host = tensor.cpu()
    torch.distributed.all_reduce(on_host, group=group.cpu_group)
    return on_host.to(tensor.device)


def all_gather(group: Any, tensor: torch.Tensor, dim: int = -1) -> torch.Tensor:
    parts = [torch.empty_like(tensor, device="cpu") for _ in range(RANKS)]
    torch.distributed.all_gather(parts, tensor.cpu().contiguous(), group=group.cpu_group)
    return torch.cat(parts, dim=dim).to(tensor.device)


def outputs() -> dict[str, torch.Tensor]:
    there = [name for name in ROPE if ENCODERS[name].there()]
    return {
        f"{mode} shared, {name}, {title}": run(name, grids).cpu()
        for mode, names, run in (("weights", SHARED_WEIGHTS, shared_weights), ("data", there, shared_data))
        for name in names
        for title, grids in INPUTS.items()
    }


def shared_weights(name: str, grids: Grids) -> torch.Tensor:
    encoder = ENCODERS[name]
    return encoder.run(encoder.made(LAYERS, torch.float32), grids, torch.float32)


def shared_data(name: str, grids: Grids) -> torch.Tensor:
    """Every rank has the whole model and some of the images."""
    encoder = ENCODERS[name]
    config = importlib.import_module("vllm.config")
    with world.configured():
        current = config.get_current_vllm_config()
    asked = SimpleNamespace(multimodal_config=config.MultiModalConfig(mm_encoder_tp_mode="data"))
    with mock.patch.object(current, "model_config", asked):
        model = encoder.made(LAYERS, torch.float32)
        sharded: Callable[..., Any] = importlib.import_module(
            "vllm.model_executor.models.vision"
        ).run_dp_sharded_mrope_vision_model
        parts = sharded(model, encoder.pixels(grids, torch.float32), grids, rope_type=ROPE[name])
    return torch.cat([part.flatten() for part in parts])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(one(int(sys.argv[1]), Path(sys.argv[2])) if sys.argv[1:] else both()))
