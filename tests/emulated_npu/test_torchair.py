from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import emulated_npu


@pytest.fixture(scope="module")
def scope():
    emulated_npu.install()
    import torchair.scope

    return torchair.scope


@pytest.fixture(scope="module")
def stream_of_tag(scope):
    from emulated_npu._torchair import stream_of_tag

    return stream_of_tag


def aten(trace):
    return [(event.op, event.stream) for event in trace.events if event.op.startswith("aten::")]


def test_operations_in_a_switch_are_on_the_stream_of_its_tag(scope, stream_of_tag):
    x = torch.ones(2).npu()
    with emulated_npu.trace() as trace:
        x + x
        with scope.npu_stream_switch("second", 0):
            x * x
        x - x
    second = stream_of_tag("second")
    assert second != 0
    assert aten(trace) == [("aten::add.Tensor", 0), ("aten::mul.Tensor", second), ("aten::sub.Tensor", 0)]


def test_one_tag_is_one_stream(scope, stream_of_tag):
    assert stream_of_tag("kv") == stream_of_tag("kv") != stream_of_tag("query")


def test_switches_nest(scope, stream_of_tag):
    x = torch.ones(2).npu()
    with emulated_npu.trace() as trace, scope.npu_stream_switch("outer"):
        with scope.npu_stream_switch("inner"):
            x + x
        x * x
    assert aten(trace) == [
        ("aten::add.Tensor", stream_of_tag("inner")),
        ("aten::mul.Tensor", stream_of_tag("outer")),
    ]


def test_an_exception_switches_back(scope):
    x = torch.ones(2).npu()
    with pytest.raises(ValueError, match="inside"), scope.npu_stream_switch("second"):
        raise ValueError("inside")
    with emulated_npu.trace() as trace:
        x + x
    assert aten(trace) == [("aten::add.Tensor", 0)]


def test_the_switch_is_traced_with_its_label_and_priority(scope):
    with emulated_npu.trace() as trace, scope.npu_stream_switch("second", 3):
        pass
    assert [event.op for event in trace.events] == ["air::scope_enter", "air::scope_exit"]
    assert trace.events[0].detail["attributes"] == {"_user_stream_label": "second", "_user_stream_priority": "3"}


def test_leaving_a_scope_that_was_never_entered_is_refused(scope):
    with pytest.raises(RuntimeError, match="no scope is open"):
        torch.ops.air.scope_exit()


class TestWait:
    def test_returns_the_tensor_itself(self, scope):
        x = torch.ones(2).npu()
        assert scope.npu_wait_tensor(x, torch.ones(3).npu()) is x

    def test_is_traced_with_what_waits_and_what_for(self, scope, stream_of_tag):
        x, dependency = torch.ones(2).npu(), torch.ones(3).npu()
        with emulated_npu.trace() as trace, scope.npu_stream_switch("second"):
            scope.npu_wait_tensor(x, dependency)
        (event,) = [event for event in trace.events if event.op == "air::wait_tensor"]
        assert event.stream == stream_of_tag("second")
        assert [tensor.shape for tensor in event.inputs] == [(2,), (3,)]
        assert event.outputs == (event.inputs[0],)

    def test_works_on_cpu_tensors_too(self, scope):
        x = torch.ones(2)
        assert scope.npu_wait_tensor(x, x) is x


def test_what_needs_the_real_compiler_refuses(scope):
    import torchair

    with pytest.raises(NotImplementedError, match=r"torchair\.CompilerConfig was called"):
        torchair.CompilerConfig()
    with pytest.raises(NotImplementedError, match=r"torchair\.get_npu_backend was called"):
        torchair.get_npu_backend()


def test_an_unknown_name_points_to_the_stand_in(scope):
    with pytest.raises(
        AttributeError, match=r"the emulated torchair has no torchair\.scope\.super_kernel.*_torchair\.py"
    ):
        _ = scope.super_kernel


# torch warns of an operator that returns its argument, as torchair's does, and refuses it where CI is set.
ALIASING_IS_A_WARNING = {"TORCHINDUCTOR_ERROR_ON_CUSTOM_OP_ALIASING": "0"}
COMPILED = """
import warnings
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
import emulated_npu

warnings.filterwarnings("ignore", message=".*air::wait_tensor.*")
emulated_npu.install()
import torch_npu
from torchair.scope import npu_stream_switch, npu_wait_tensor

graph = []

def compiler(module, inputs):
    graph.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
    return make_boxed_func(module.forward)

@torch.compile(fullgraph=True, backend=aot_autograd(fw_compiler=compiler))
def step(x, y):
    x = x + 1
    with npu_stream_switch("second", 0):
        y = npu_wait_tensor(y, x)
        y = y * 2
    return y - x

x = torch.ones(2).npu()
with torch.no_grad(), emulated_npu.trace() as first:
    step(x, x)
with torch.no_grad(), emulated_npu.trace() as second:
    result = step(x, x)
print(graph)
print([(event.op, event.stream > 0) for event in second.events])
print(len(first.events) == len(second.events), result.tolist())
"""


@pytest.fixture(scope="module")
def compiled():
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPILED],
        env=os.environ | ALIASING_IS_A_WARNING,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_scopes_and_waits_are_nodes_of_a_compiled_graph_in_their_order(compiled):
    assert compiled.stdout.splitlines()[0] == str(
        [
            "aten.add.Tensor",
            "air.scope_enter.default",
            "air.wait_tensor.default",
            "aten.mul.Tensor",
            "air.scope_exit.default",
            "aten.sub.Tensor",
        ]
    ), compiled.stderr


def test_a_compiled_graph_runs_in_the_same_order_on_the_same_streams(compiled):
    assert compiled.stdout.splitlines()[1] == str(
        [
            ("aten::add.Tensor", False),
            ("air::scope_enter", True),
            ("air::wait_tensor", True),
            ("aten::mul.Tensor", True),
            ("air::scope_exit", True),
            ("aten::sub.Tensor", False),
        ]
    ), compiled.stderr


def test_compiling_itself_switches_no_stream(compiled):
    assert compiled.stdout.splitlines()[2] == "True [0.0, 0.0]", compiled.stderr
