"""The ops for an engine whose tensors stay on the CPU; in processes of their own, without the device."""

from __future__ import annotations

INSTALL = """
import torch
import emulated_npu
emulated_npu.install_ops_on_cpu(torch_npu="2.9.0")
import torch_npu
"""


def outcome(run_python, code):
    result = run_python(INSTALL + code)
    return result.stdout.strip() if result.returncode == 0 else result.stderr.strip().splitlines()[-1]


def test_ops_take_and_return_cpu_tensors(run_python):
    code = """
x, cos = torch.randn(1, 4, 2, 64), torch.randn(1, 4, 1, 64)
print(torch_npu.npu_rotary_mul(x, cos, cos).device, torch_npu.__version__)
"""
    assert outcome(run_python, code) == "cpu 2.9.0"


def test_the_result_is_that_of_the_device(run_python):
    code = """
torch.manual_seed(0)
q = torch.randn(6, 2, 64).bfloat16()
out = torch.empty_like(q)
torch_npu._npu_flash_attention_unpad(q, q, q, torch.tensor([2, 4], dtype=torch.int32), 0.125, 2, 2, out)
print(out.double().sum().item())
"""
    on_cpu = outcome(run_python, code)
    on_npu = run_python(
        INSTALL.replace("install_ops_on_cpu", "install")
        + code.replace("bfloat16()", "bfloat16().npu()").replace("out.double()", "out.cpu().double()")
    )
    assert on_cpu == on_npu.stdout.strip(), on_npu.stderr


def test_in_place_ops_write_into_the_argument_itself(run_python):
    code = """
q, cos = torch.ones(3, 2, 64), torch.full((3, 1, 64), 0.5)
returned = torch_npu.npu_apply_rotary_pos_emb(q, q.clone(), cos, cos * 0, layout="TND")
print(returned[0] is q, q.unique().tolist())
"""
    assert outcome(run_python, code) == "True [0.5]"


def test_no_device_is_made(run_python):
    assert outcome(run_python, "print(hasattr(torch, 'npu'), torch._C._get_privateuse1_backend_name())") == (
        "False privateuseone"
    )


def test_asking_for_the_device_says_that_there_is_none(run_python):
    message = outcome(run_python, "torch_npu.npu.current_stream()")
    assert "The ops are installed for CPU tensors and there is no npu device" in message


def test_other_refusals_stay(run_python):
    message = outcome(run_python, "x = torch.ones(1, 4, 2, 63); torch_npu.npu_rotary_mul(x, x, x)")
    assert "input has size 63 in D; it must be even and below 896" in message


def test_installing_twice_is_once(run_python):
    assert outcome(run_python, "emulated_npu.install_ops_on_cpu(torch_npu='2.9.0'); print('once')") == "once"


def test_the_device_cannot_be_added_to_it(run_python):
    message = outcome(run_python, "emulated_npu.install(torch_npu='2.9.0')")
    assert "AnotherReleaseError" in message
    assert "for cpu tensors are installed" in message


def test_the_formats_are_remembered(run_python):
    code = """
weight = torch_npu.npu_format_cast(torch.ones(2, 2), 29)
print(torch_npu.get_npu_format(weight).name)
"""
    assert outcome(run_python, code) == "FRACTAL_NZ"
