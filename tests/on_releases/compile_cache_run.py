"""Compiles a small model as vLLM compiles its own, and prints what it computes and whether a kept graph was used."""

from __future__ import annotations

import json


def main() -> None:
    import torch

    from emulated_npu import let_torchvision_import

    let_torchvision_import()  # or transformers could not import a torchvision that is built for CUDA
    from vllm.config import CompilationConfig, CompilationMode, VllmConfig, set_current_vllm_config
    from vllm.forward_context import set_forward_context

    config = VllmConfig(compilation_config=CompilationConfig(backend="inductor"))
    # The CPU platform does not keep graphs by itself, as those of accelerators do.
    config.compilation_config.mode = CompilationMode.VLLM_COMPILE
    config.compilation_config.compile_sizes = []
    with set_current_vllm_config(config):
        from toy_model import Toy

        model = Toy(vllm_config=config)
    from vllm.compilation.counter import compilation_counter

    with torch.inference_mode(), set_forward_context({}, config):
        answer = model(torch.ones(4, 2)).sum().item()
    print(
        json.dumps(
            {
                "answer": answer,
                "found": model.was_aot_compile_fn_loaded_from_disk or compilation_counter.num_backend_compilations == 0,
                "folder": config.compilation_config.local_cache_dir,
            }
        )
    )


if __name__ == "__main__":
    main()
