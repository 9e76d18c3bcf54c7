"""What FakeTensor and torch.compile see of the ops: Meta kernels where torch_npu has them, and none elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, UnsupportedOperatorException
from torch.utils._pytree import tree_leaves, tree_map

import emulated_npu
from emulated_npu import _schemas


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


def half(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).bfloat16()


def packed(**changes):
    return {"input_layout": "TND", "num_heads": 2, "actual_seq_lengths": [4], "actual_seq_lengths_kv": [4], **changes}


def second(**changes):
    names = {"input_layout": "TND", "num_query_heads": 2, "actual_seq_qlen": [4], "actual_seq_kvlen": [4]}
    return names | changes


def latent_cache():
    rows = [half(4, 1, 1, 576), half(512), half(4, 1, 1, 64), half(4, 1, 1, 64)]
    return [*rows, torch.arange(4), half(2, 4, 1, 64), half(2, 4, 1, 512)]


def prolog():
    shapes = [(3, 32), (32, 24), (24, 2 * 80), (2, 16, 512), (32, 576), (24,), (512,), (3, 64), (3, 64)]
    return [half(*shape) for shape in shapes] + [torch.arange(3), half(2, 4, 1, 512), half(2, 4, 1, 64)]


def latent_decode():
    tensors = [half(2, 4, 512), half(2, 4, 64), half(2, 16, 1, 512), half(2, 16, 1, 64)]
    return [*tensors, torch.zeros(2, 1, dtype=torch.int32), [3, 4], 4, 0.1, 1]


# op -> positional arguments, keyword arguments
WITH_META = {
    "npu_grouped_matmul": (([half(6, 4)], [half(4, 5)]), {"split_item": 0, "group_type": -1}),
    "npu_grouped_matmul as one": (([half(6, 4)], [half(4, 5)]), {"split_item": 3, "group_type": -1}),
    "npu_rotary_mul": ([half(1, 4, 2, 64), half(1, 4, 1, 64), half(1, 4, 1, 64)], {}),
    "npu_apply_rotary_pos_emb": ([half(1, 4, 2, 64), half(1, 4, 1, 64), half(1, 4, 1, 64), half(1, 4, 1, 64)], {}),
    "npu_interleave_rope": ([half(4, 2, 1, 64), half(4, 1, 1, 64), half(4, 1, 1, 64)], {}),
    "npu_mrope": ([torch.arange(4), half(4, 128), half(4, 64), half(8, 64), 64], {}),
    "npu_fused_infer_attention_score": ([half(4, 2, 128)] * 3, packed()),
    "npu_fused_infer_attention_score with lse": ([half(4, 2, 128)] * 3, packed(softmax_lse_flag=True)),
    "npu_fused_infer_attention_score turned": ([half(4, 2, 128)] * 3, packed(input_layout="TND_NTD")),
    "npu_fused_infer_attention_score_v2": ([half(4, 2, 128)] * 3, second(return_softmax_lse=True)),
    "npu_fusion_attention": ([half(2, 3, 4, 64)] * 3, {"head_num": 3, "input_layout": "BNSD"}),
    "npu_fusion_attention hidden": ([half(2, 4, 192)] * 3, {"head_num": 3, "input_layout": "BSH"}),
    "npu_prompt_flash_attention": ([half(1, 2, 4, 128)] * 3, {"num_heads": 2, "input_layout": "BNSD"}),
    "npu_kv_rmsnorm_rope_cache": (latent_cache(), {"cache_mode": "PA"}),
    "npu_mla_prolog_v2": (prolog(), {}),
    "npu_rms_norm": ([half(3, 4, 64), half(64)], {}),
    "npu_add_rms_norm": ([half(3, 64), half(3, 64), half(64)], {}),
    "npu_swiglu": ([half(3, 64)], {}),
    "npu_fast_gelu": ([half(3, 64)], {}),
    "npu_prefetch": ([half(64), None, 64], {}),
    "npu_transpose_batchmatmul": ([half(4, 3, 8), half(4, 8, 5)], {"batch_split_factor": 2}),
    "npu_attention_update": ([[torch.ones(4)] * 2, [half(4, 8)] * 2, 0], {}),
    "npu_quantize": ([half(3, 8), torch.ones(8), None, torch.qint8], {}),
    "npu_dynamic_quant": ([half(3, 8)], {}),
    "atb.npu_multi_head_latent_attention": (latent_decode(), {}),
}

# Everything of the newest release that has none in torch_npu.
WITHOUT_META = [
    *("atb::_npu_flash_attention", "atb::_npu_flash_attention_unpad", "atb::_npu_flash_attention_unpad_v2"),
    *("atb::_npu_paged_attention", "atb::_npu_paged_attention_get_workspace", "atb::_npu_paged_attention_mla"),
    *("atb::_npu_reshape_and_cache", "atb::_npu_reshape_and_cache_siso", "atb::_npu_rotary_embedding"),
    *("atb::npu_paged_cache_load", "atb::npu_paged_cache_load.out", "atb::npu_ring_mla", "atb::npu_ring_mla.out"),
    *("atb::npu_multi_head_latent_attention.out", "atb::npu_multi_head_latent_attention.lse_out"),
    *(
        "npu::npu_format_cast",
        "npu::npu_format_cast.Tensor",
        "npu::npu_format_cast_",
        "npu::npu_format_cast_.acl_format",
    ),
    *("npu::npu_fused_infer_attention_score.out", "npu::npu_fused_infer_attention_score_v2.out"),
    "npu::_npu_fused_infer_attention_score_get_max_workspace",
    "npu::_npu_fused_infer_attention_score_v2_get_max_workspace",
    "npu::get_npu_format",
    "npu::npu_gather_pa_kv_cache",
]


def find(torch_npu, name):
    found = torch_npu
    for part in name.split(" ")[0].split("."):
        found = getattr(found, part)
    return found


def described(result):
    return [
        (tuple(leaf.shape), leaf.dtype, leaf.device.type) if isinstance(leaf, torch.Tensor) else type(leaf)
        for leaf in tree_leaves(result)
    ]


def moved(arguments, mode=None):
    """The arguments on the device, with lists of lengths left alone; as fake tensors if a mode is given."""

    def move(value):
        if not isinstance(value, torch.Tensor):
            return value
        on_npu = value.npu()
        return mode.from_tensor(on_npu) if mode else on_npu

    return tree_map(move, arguments)


@pytest.mark.parametrize("name", WITH_META)
def test_a_fake_call_has_the_shapes_of_a_real_one(torch_npu, name):
    args, kwargs = WITH_META[name]
    op = find(torch_npu, name)
    mode = FakeTensorMode()
    fake_args = moved(args, mode)
    with mode:
        fake = op(*fake_args, **kwargs)
    assert described(fake) == described(op(*moved(args), **kwargs))


def test_exactly_the_ops_that_torch_npu_has_no_meta_kernel_for_have_none(torch_npu):
    ops = _schemas.schemas(torch_npu.__version__)
    without = [op for op in ops if not torch._C._dispatch_has_kernel_for_dispatch_key(op, "Meta")]
    assert sorted(without) == sorted(WITHOUT_META)


def test_a_fake_call_without_a_meta_kernel_is_refused(torch_npu):
    mode = FakeTensorMode()
    weight = moved(half(2, 2), mode)
    with mode, pytest.raises((UnsupportedOperatorException, NotImplementedError)):
        torch_npu.npu_format_cast(weight, 29)


def test_mrope_has_no_meta_kernel_in_the_oldest_release(run_python):
    result = run_python("""
        import torch
        import emulated_npu
        emulated_npu.install(torch_npu="2.5.1")
        print(torch._C._dispatch_has_kernel_for_dispatch_key("npu::npu_mrope", "Meta"))
        print(torch._C._dispatch_has_kernel_for_dispatch_key("npu::npu_rotary_mul", "Meta"))
    """)
    assert result.stdout == "False\nTrue\n", result.stderr


def test_a_fake_rotary_only_echoes_shapes_and_checks_nothing(torch_npu):
    x = torch.empty(7, 3, device="meta")
    assert torch_npu.npu_rotary_mul(x, x[:1], x, "no such mode").shape == (7, 3)


def test_a_fake_prefetch_checks_its_numbers_and_not_the_range(torch_npu):
    weight = torch.empty(2, device="meta")
    torch_npu.npu_prefetch(weight, None, 4, 1000)
    with pytest.raises(RuntimeError, match="max_size should be greater than zero, but got 0"):
        torch_npu.npu_prefetch(weight, None, 0)


COMPILED = """
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
import emulated_npu

emulated_npu.{install}()
import torch_npu

targets = []

def compiler(module, inputs):
    targets.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
    return make_boxed_func(module.forward)

@torch.compile(fullgraph=True, backend=aot_autograd(fw_compiler=compiler))
def layer(q, cos, weight):
    torch_npu.npu_prefetch(weight, q, 4096)
    q = torch_npu.npu_rotary_mul(q, cos, cos)
    normed, _ = torch_npu.npu_rms_norm(q, weight)
    tnd = normed.flatten(0, 1)
    ends = {{"actual_seq_lengths": [1, 4], "actual_seq_lengths_kv": [1, 4]}}
    return torch_npu.npu_fused_infer_attention_score(tnd, tnd, tnd, input_layout="TND", num_heads=2, **ends)[0]

torch.manual_seed(0)
arguments = [torch.randn(*shape).half().to("{device}") for shape in ((1, 4, 2, 128), (1, 4, 1, 128), (128,))]
with torch.no_grad():
    compiled = layer(*arguments)
    eager = layer._torchdynamo_orig_callable(*arguments)
print(torch.equal(compiled.cpu(), eager.cpu()))
print([target for target in targets if target.startswith("npu")])
"""


@pytest.mark.parametrize(("install", "device"), [("install_ops_on_cpu", "cpu"), ("install", "npu")])
def test_a_whole_graph_is_compiled_around_the_ops(run_python, install, device):
    result = run_python(COMPILED.format(install=install, device=device))
    assert result.stdout.splitlines() == [
        "True",
        str(
            [
                f"npu.npu_{name}.default"
                for name in ("prefetch", "rotary_mul", "rms_norm", "fused_infer_attention_score")
            ]
        ),
    ], result.stderr
