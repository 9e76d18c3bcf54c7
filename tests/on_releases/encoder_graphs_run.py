"""Run on one release: whole encoders captured as graphs by the release's own manager, and replayed with other inputs.

encoder_graphs_run.py vllm-ascend ENCODER          the manager of vllm-ascend, as upstream and patched
encoder_graphs_run.py vllm ENCODER                 vLLM's manager, as upstream and patched
encoder_graphs_run.py vllm-ascend ENCODER GUARD... as patched alone, with guards of the patches switched off

Prints one JSON object.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import torch

import ascend_patches
import emulated_npu
from ascend_patches.checks import world
from ascend_patches.checks.encoders import ENCODERS

LAYERS = 3
TYPE = torch.bfloat16
BUDGETS = [12, 40]
MOST_IMAGES = 4
# In tokens, of which each has four patches: one image that fills a budget, several that do not, and some that need two
# batches. No two images in one set are alike, so that lengths that are left from the capture are wrong.
IMAGES = {
    "one": [[1, 4, 6]],
    "two": [[1, 4, 6], [1, 2, 4]],
    "a whole budget": [[1, 8, 6]],
    "several": [[1, 8, 4], [1, 2, 2], [1, 4, 10]],
    "more than fit at once": [[1, 4, 4], [1, 10, 12], [1, 2, 6], [1, 6, 4], [1, 2, 2], [1, 8, 2]],
}
# Frame by frame: as many as a graph has room for, and fewer of more patches.
VIDEOS = {
    "a video": [[4, 4, 4]],
    "two videos": [[2, 4, 6], [3, 2, 4]],
    "a video of one frame": [[1, 6, 4]],
}
MOST_FRAMES = 4
ALONE = "patched alone"
"""In the place of a guard: none is off, and the release is not asked without patches."""
INPUTS = {"image": IMAGES, "video": VIDEOS}
PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}
MODELS = {
    "Qwen3-VL": "Qwen3VLForConditionalGeneration",
    "Qwen2-VL": "Qwen2VLForConditionalGeneration",
    "Qwen2.5-VL": "Qwen2_5_VLForConditionalGeneration",
    "GLM-4.1V": "Glm4vForConditionalGeneration",
}


def main() -> None:
    torch.set_num_threads(1)
    manager, name, *guards = sys.argv[1:]
    found: dict[str, Any] = {"can_be_captured": hasattr(kind_of(name), "get_encoder_cudagraph_config")}
    if not guards:
        found["upstream"] = outcome(manager, name)
        if found["upstream"]["refused"]:
            # What was refused may have left the device waiting for an event that never comes.
            command = [sys.executable, __file__, manager, name, ALONE]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            print(json.dumps(json.loads(done.stdout.splitlines()[-1]) | {"upstream": found["upstream"]}))
            return
    ascend_patches.apply_patches()
    for guard in guards:
        if guard != ALONE:
            switch_off(guard)
    found["patched"] = outcome(manager, name)
    # Only now has everything been imported that they are for.
    patches = ascend_patches.status()["patches"]
    found["applied"] = [patch["name"] for patch in patches if patch["state"] == "applied"]
    print(json.dumps(found))


def outcome(manager: str, name: str) -> dict[str, Any]:
    """The bits of every image and video as computed eagerly and by a graph, or what was refused."""
    encoder = ENCODERS[name]
    with torch.inference_mode():
        visual = encoder.made(LAYERS, TYPE)
    model = around(name, visual)
    found: dict[str, Any] = {"eager": {}, "graph": {}, "refused": None}
    with torch.inference_mode():
        for inputs in INPUTS.values():
            for title, grids in inputs.items():
                pixels = encoder.pixels(grids, TYPE)
                found["eager"][title] = [bits(encoder.forward(visual, *each)) for each in apart(pixels, grids)]
    if not hasattr(model, "get_encoder_cudagraph_config"):
        return found
    try:
        for modality, inputs in INPUTS.items():
            model.multimodal_config = model.model_config.multimodal_config = limits(videos=modality == "video")
            graphs = captured(manager, model)
            for title, grids in inputs.items():
                given = {PIXELS[modality]: encoder.pixels(grids, TYPE), f"{modality}_grid_thw": torch.tensor(grids)}
                with emulated_npu.trace() as trace:
                    outputs = graphs.execute(given)
                found["graph"][title] = [bits(output) for output in outputs]
                found.setdefault("replays", {})[title] = trace.ops().count("graph.replay")
    except RuntimeError as error:
        found["refused"] = str(error).splitlines()[0]
    return found


def bits(output: torch.Tensor) -> str:
    return hashlib.sha256(output.cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def apart(pixels: torch.Tensor, grids: list[list[int]]) -> Any:
    counts = [frames * rows * columns for frames, rows, columns in grids]
    return zip(pixels.split(counts), ([grid] for grid in grids), strict=True)


def kind_of(name: str) -> Any:
    return getattr(importlib.import_module(ENCODERS[name].path), MODELS[name])


def around(name: str, visual: Any) -> Any:
    """The release's model around an encoder, with what its part in encoder graphs looks at and no more."""
    kind = kind_of(name)
    model = kind.__new__(kind)
    torch.nn.Module.__init__(model)
    model.visual = visual
    model.is_multimodal_pruning_enabled = False
    model.use_data_parallel = False
    model.multimodal_config = limits(videos=False)
    model.model_config = SimpleNamespace(max_model_len=4096, multimodal_config=model.multimodal_config)
    scheduler = SimpleNamespace(max_num_batched_tokens=4096)
    model.vllm_config = SimpleNamespace(model_config=model.model_config, scheduler_config=scheduler)
    model.get_max_frames_per_video = lambda: MOST_FRAMES
    return model


def limits(*, videos: bool) -> Any:
    """Where a prompt may have no video, a graph has room for one frame of each image."""
    return SimpleNamespace(get_limit_per_prompt=lambda modality: int(videos), mm_encoder_tp_mode="weights")


def captured(manager: str, model: Any) -> Any:
    """A manager of the release that has captured a graph for each budget."""
    compilation = SimpleNamespace(
        encoder_cudagraph_token_budgets=BUDGETS,
        encoder_cudagraph_max_vision_items_per_batch=MOST_IMAGES,
        encoder_cudagraph_max_frames_per_batch=MOST_IMAGES * MOST_FRAMES,
    )
    configuration = SimpleNamespace(
        compilation_config=compilation,
        model_config=model.model_config,
        parallel_config=SimpleNamespace(tensor_parallel_size=1),
    )
    where = {
        "vllm-ascend": ("vllm_ascend.worker.encoder_acl_graph", "EncoderAclGraphManager"),
        "vllm": ("vllm.v1.worker.encoder_cudagraph", "EncoderCudaGraphManager"),
    }
    module, kind = where[manager]
    # As vllm-ascend's workers do, for which vLLM's own code asks for CUDA's names.
    torch.cuda.CUDAGraph, torch.cuda.graph = torch.npu.NPUGraph, torch.npu.graph
    torch.cuda.current_stream = torch.npu.current_stream
    with world.configured():
        made = getattr(importlib.import_module(module), kind)(configuration, torch.device("npu"), TYPE, model)
        made.capture(torch.npu.graph_pool_handle())
    return made


def switch_off(guard: str) -> None:
    """Have a module of the patches believe that nothing is captured; ``capturing`` is what vllm-ascend itself says."""
    if guard == "capturing":
        module: Any = importlib.import_module("ascend_patches.patches.mm_encoder_attention.replacements")
        # In place, because a release's table holds it.
        module._encoder_graph_is_captured.__code__ = (lambda: False).__code__
        return
    module = importlib.import_module(f"ascend_patches.{guard}")
    assert callable(module.being_recorded)
    module.being_recorded = lambda: False


if __name__ == "__main__":
    main()
