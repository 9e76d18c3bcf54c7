"""A traced decode step as lines that can be read and compared: stream, operation, and what it works on, by name."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from emulated_npu import TensorId, Trace, TraceEvent, tensor_id

# (operation, an input) -> what comes out. Views have the name of what they are views of.
_RESULTS = {
    ("mm", "q_a_proj"): "ckq",
    ("npu_rms_norm", "ckq"): "q_c",
    ("index", "cos_table"): "cos",
    ("index", "sin_table"): "sin",
    ("mm", "kv_a_proj_with_mqa"): "kv",
    ("mm", "q_b_proj"): "q",
    ("mm", "q_proj"): "q",
    ("bmm", "W_UK_T"): "q_nope",
    ("npu_interleave_rope", "q"): "q_pe",
    ("npu_fused_infer_attention_score", "q_nope"): "attended",
    ("bmm", "W_UV"): "values",
    ("npu_transpose_batchmatmul", "W_UV"): "values",
    ("clone", "values"): "values",
    ("clone", "q_nope"): "q_nope",
    ("clone", "q_pe"): "q_pe",
    ("_to_copy", "slots"): "slots",
    ("mm", "o_proj"): "output",
}
_SYNCHRONISATION = {"event.record", "event.wait", "stream.wait_stream"}
# Scopes are seen in the streams, and allocations are not work.
_LEFT_OUT = {"scope_enter", "scope_exit", "empty", "cat"}


class Line(NamedTuple):
    """One operation of the step."""

    stream: str
    op: str
    inputs: tuple[str, ...]
    detail: Mapping[str, Any]

    def __str__(self) -> str:
        known = [name for name in self.inputs if name]
        size = f", {self.detail['max_size']} bytes" if "max_size" in self.detail else ""
        event = f"{self.detail['event']}" if "event" in self.detail else ""
        return f"{self.stream:<6} {self.op}({', '.join(known)}{event}{size})"


def read(trace: Trace, names: Mapping[str, torch.Tensor]) -> list[Line]:
    """The step in a trace; it begins on the main stream, and ``names`` are the tensors that were there before it."""
    known = {tensor_id(tensor).memory: name for name, tensor in names.items()}
    numbers: dict[int, int] = {}
    main = trace.events[0].stream
    return [_line(event, main, known, numbers) for event in trace.events if _short(event.op) not in _LEFT_OUT]


def _line(event: TraceEvent, main: int, known: dict[int, str], numbers: dict[int, int]) -> Line:
    op = _short(event.op)
    inputs = tuple(known.get(tensor.memory, "") for tensor in (*event.inputs, *_kept(event)))
    result = next((_RESULTS[op, name] for name in inputs if (op, name) in _RESULTS), "")
    for tensor in event.outputs:
        known.setdefault(tensor.memory, result)
    detail = dict(event.detail.get("arguments", {}))
    if "event" in event.detail:
        detail["event"] = numbers.setdefault(event.detail["event"], len(numbers) + 1)
    return Line("main" if event.stream == main else "second", op, inputs, detail)


_VIEWS = {"t", "view", "slice", "unsqueeze", "transpose", "split_with_sizes", "_unsafe_view"}


def read_graph(graph: torch.fx.Graph, names: Mapping[str, torch.Tensor]) -> list[str]:
    """The step in a graph that a compiler was given; what has waited is marked, so that it shows who uses it.

    The inputs of a graph have no names. They are told by shape and dtype, and where two are alike, by their order.
    """
    unnamed = [(name, tensor.shape, tensor.dtype) for name, tensor in names.items()]
    known: dict[torch.fx.Node, str] = {}
    stream, lines = "main", []
    for node in graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta["val"], torch.Tensor):
            like = (node.meta["val"].shape, node.meta["val"].dtype)
            found = next((entry for entry in unnamed if entry[1:] == like), None)
            known[node] = found[0] if found else ""
            unnamed = [entry for entry in unnamed if entry is not found]
        elif node.op == "call_function":
            op = _short(str(node.target))
            inputs = [known.get(each, "") for each in node.all_input_nodes]
            result = next((_RESULTS[op, name] for name in map(_unmarked, inputs) if (op, name) in _RESULTS), "")
            if op == "scope_enter":
                stream = "second"
            elif op == "scope_exit":
                stream = "main"
            elif op in _VIEWS:
                known[node] = inputs[0]
            elif node.target is operator.getitem:
                known[node] = _PARTS.get((_short(str(node.args[0].target)), node.args[1]), inputs[0])
            else:
                known[node] = f"{inputs[0]}'" if op == "wait" else result
                size = f", {node.args[2]} bytes" if op == "npu_prefetch" else ""
                lines.append(f"{stream:<6} {op}({', '.join(filter(None, inputs))}{size})")
    return lines


_PARTS = {("npu_kv_rmsnorm_rope_cache", 0): "ropes", ("npu_kv_rmsnorm_rope_cache", 1): "latents"}


def _unmarked(name: str) -> str:
    return name.rstrip("'")


def _kept(event: TraceEvent) -> tuple[TensorId, ...]:
    """The tensor whose memory is kept for a stream, which that does not count as reading."""
    return (event.detail["tensor"],) if _short(event.op) == "record_stream" else ()


def _short(op: str) -> str:
    if op in _SYNCHRONISATION:
        return op
    name = op.rpartition("::")[2].removeprefix("aten.").removeprefix("npu.").removeprefix("air.").partition(".")[0]
    return {"wait_tensor": "wait"}.get(name, name)
