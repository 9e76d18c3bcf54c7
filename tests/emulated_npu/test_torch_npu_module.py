from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

RunPython = Callable[..., subprocess.CompletedProcess[str]]

RELEASES = ["2.5.1", "2.5.1.post1", "2.7.1", "2.9.0", "2.11.0", "2.13.0", "2.14.0"]

# What released vllm-ascend imports when its own modules are imported.
IMPORTED_BY_VLLM_ASCEND = """
import torch_npu
import torchair
import torchair._contrib.custom_torch_ops
from acl.rt import memcpy
from torch_npu._C._distributed_c10d import ProcessGroupHCCL
from torch_npu.npu.streams import Event
from torch_npu.op_plugin.atb._atb_ops import _register_atb_extensions
from torch_npu.profiler import dynamic_profile
from torch_npu.multiprocessing.reductions import rebuild_npu_tensor
from torchair.core._concrete_graph import _is_symlist
from torchair.npu_fx_compiler import _unpack_meta_list
from torchair.scope import npu_stream_switch, npu_wait_tensor
"""

INSTALL = "import emulated_npu; emulated_npu.install(torch_npu={!r})\nimport torch, torch_npu\n"


def run(run_python: RunPython, code: str, release: str = "2.14.0") -> str:
    """What the code prints, or the last line of its error."""
    result = run_python(INSTALL.format(release) + code)
    if result.returncode:
        return result.stderr.strip().splitlines()[-1]
    return result.stdout.strip()


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_installs_with_all_of_its_ops(run_python, release):
    code = """
from emulated_npu import _schemas
for op, text in _schemas.schemas(torch_npu.__version__).items():
    space, name = op.split("::")
    base, _, overload = name.partition(".")
    registered = getattr(getattr(getattr(torch.ops, space), base), overload or "default")._schema
    assert registered == torch._C.parse_schema(f"{space}::{text}"), op
print(torch_npu.__version__)
"""
    assert run(run_python, code, release) == release


def test_everything_that_vllm_ascend_imports_is_there(run_python):
    assert run(run_python, IMPORTED_BY_VLLM_ASCEND + "print('imported')") == "imported"


@pytest.mark.parametrize("name", ["torch_npu", "torch_npu.atb", "torchair.scope", "acl.rt"])
def test_the_modules_have_real_specs(run_python, name):
    assert run(run_python, f"import importlib.util; print(importlib.util.find_spec({name!r}).name)") == name


def test_torch_npu_npu_is_torch_npu(run_python):
    code = "import torch_npu.npu as npu; print(npu is torch.npu, torch_npu.npu is torch.npu)"
    assert run(run_python, code) == "True True"


class TestUnknownNames:
    def test_an_unknown_op_names_itself_the_release_and_the_files(self, run_python):
        message = run(run_python, "torch_npu.npu_moe_init_routing", "2.9.0")
        assert "the emulated torch_npu 2.9.0 has no torch_npu.npu_moe_init_routing" in message
        assert "schemas.json" in message
        assert "emulated_npu/_ops" in message

    def test_an_op_of_other_releases_is_said_to_be_in_those(self, run_python):
        message = run(run_python, "torch_npu.npu_attention_update", "2.5.1")
        assert "That op is in torch_npu 2.7.1, 2.9.0, 2.11.0, 2.13.0, 2.14.0, and not in 2.5.1." in message

    def test_another_unknown_name_points_to_the_module_that_builds_it(self, run_python):
        message = run(run_python, "torch_npu.profiler.supported_activities")
        assert message.startswith("emulated_npu._stand_in.UnknownNameError")
        assert "no torch_npu.profiler.supported_activities. Add it to" in message
        assert "_torch_npu.py" in message

    def test_hasattr_says_no(self, run_python):
        assert run(run_python, "print(hasattr(torch_npu, 'npu_moe_init_routing'))") == "False"

    def test_a_name_that_is_only_there_to_be_imported_refuses_to_be_used(self, run_python):
        message = run(run_python, "import acl.rt; acl.rt.memcpy(1, 2, 3)")
        assert "NotEmulatedError: acl.rt.memcpy was called, which the emulated NPU does not have" in message

    def test_a_class_that_is_only_there_to_be_named_refuses_to_be_made(self, run_python):
        code = "from torch_npu._C._distributed_c10d import ProcessGroupHCCL as P; P.Options; P()"
        assert "NotEmulatedError: torch_npu._C._distributed_c10d.ProcessGroupHCCL was called" in run(run_python, code)


class TestAtbAttributes:
    """torch_npu overwrites them at the first call of any ATB op."""

    CALL = """
def first_call():
    q = torch.ones(1, 1, 64, dtype=torch.float16).npu()
    torch_npu._npu_flash_attention_unpad(q, q, q, torch.tensor([1], dtype=torch.int32), 1.0, 1, 1, torch.empty_like(q))
"""

    def test_a_patched_attribute_is_overwritten_by_the_first_call_of_another(self, run_python):
        code = (
            self.CALL
            + """
torch_npu._npu_paged_attention = "patched"
first_call()
print(torch_npu._npu_paged_attention)
"""
        )
        assert run(run_python, code) == "atb._npu_paged_attention"

    def test_an_attribute_captured_before_still_works_and_is_another(self, run_python):
        code = (
            self.CALL
            + """
before = torch_npu._npu_flash_attention_unpad
first_call()
print(before is torch_npu._npu_flash_attention_unpad, torch_npu._npu_flash_attention_unpad)
"""
        )
        assert run(run_python, code) == "False atb._npu_flash_attention_unpad"

    def test_later_patches_stay(self, run_python):
        code = (
            self.CALL
            + """
first_call()
torch_npu._npu_paged_attention = "patched"
first_call()
print(torch_npu._npu_paged_attention)
"""
        )
        assert run(run_python, code) == "patched"

    def test_the_ops_of_the_atb_module_are_overwritten_too(self, run_python):
        code = (
            self.CALL
            + """
torch_npu.atb.npu_ring_mla = "patched"
first_call()
print(torch_npu.atb.npu_ring_mla)
"""
        )
        assert run(run_python, code) == "atb.npu_ring_mla"

    def test_vllm_ascend_can_ask_for_it(self, run_python):
        code = """
from torch_npu.op_plugin.atb._atb_ops import _register_atb_extensions
_register_atb_extensions()
print(torch_npu._npu_rotary_embedding)
"""
        assert run(run_python, code) == "atb._npu_rotary_embedding"

    def test_the_oldest_release_has_no_atb_module(self, run_python):
        assert "has no torch_npu.atb" in run(run_python, "torch_npu.atb", "2.5.1")


class TestInstalling:
    def test_twice_is_once(self, run_python):
        code = (
            "before = torch_npu; emulated_npu.install(torch_npu='2.9.0'); import torch_npu; print(torch_npu is before)"
        )
        assert run(run_python, code, "2.9.0") == "True"

    def test_another_release_in_the_same_process_is_refused(self, run_python):
        message = run(run_python, "emulated_npu.install(torch_npu='2.7.1')", "2.9.0")
        assert "AnotherReleaseError: the ops of torch_npu 2.9.0 for npu tensors are installed" in message
        assert "torch_npu 2.7.1 for npu tensors cannot be installed beside them" in message

    def test_forgetting_makes_room_for_another_release(self, run_python):
        code = """
from emulated_npu._ops._state import STATE
STATE.reset()
emulated_npu.install(torch_npu="2.13.0")
import sys
print("rotate" in str(sys.modules["torch_npu"].npu_rotary_mul.default._schema))
"""
        assert run(run_python, code, "2.9.0") == "True"

    def test_an_unknown_release_is_refused_and_nothing_is_left_behind(self, run_python):
        result = run_python("""
            import sys
            import emulated_npu
            try:
                emulated_npu.install(torch_npu="1.0")
            except ValueError as error:
                print("known releases" in str(error), "torch_npu" in sys.modules)
        """)
        assert result.stdout == "True False\n", result.stderr

    def test_a_torch_npu_from_elsewhere_is_left_alone(self, run_python):
        result = run_python("""
            import sys, types
            sys.modules["torch_npu"] = types.ModuleType("torch_npu")
            import emulated_npu
            emulated_npu.install_ops_on_cpu()
        """)
        assert "RealTorchNpuError: a torch_npu is loaded in this process already" in result.stderr

    def test_float32_is_taken_everywhere_when_allowed(self, run_python):
        result = run_python("""
            import emulated_npu
            emulated_npu.install(allow_float32=True)
            import torch, torch_npu
            q = torch.randn(3, 2, 128).npu()
            out = torch.empty_like(q)
            torch_npu._npu_flash_attention_unpad(q, q, q, torch.tensor([3], dtype=torch.int32), 0.1, 2, 2, out)
            ends = {"actual_seq_lengths": [3], "actual_seq_lengths_kv": [3]}
            same, _ = torch_npu.npu_fused_infer_attention_score(
                q, q, q, input_layout="TND", num_heads=2, scale=0.1, **ends
            )
            print(same.dtype, torch.equal(out.cpu(), same.cpu()))
        """)
        assert result.stdout == "torch.float32 True\n", result.stderr

    def test_transformers_finds_it_available(self, run_python):
        code = """
from transformers.utils import is_torch_npu_available
print(is_torch_npu_available())
"""
        pytest.importorskip("transformers", reason="only says what transformers sees, where it is installed")
        assert run(run_python, code) == "True"
