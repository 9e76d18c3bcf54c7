"""The demo on a real vLLM: one vision model, served as upstream made it and patched, asked the same, compared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_qwen3_vl
from engines import processes, questions, states, surroundings
from engines.comparing import Comparison
from engines.running import EngineError, launch
from engines.surroundings import Surroundings
from venvs import say

ROLES = (processes.FRONT_END, processes.ENGINE_CORE, processes.WORKER)
SERVE_THIS_MODEL = ("mm-encoder-attention", "qwen3-vl-vision", "rotary-embedding")
"""The patches whose code a Qwen3-VL runs; others may wait for models that are not loaded here."""

COSTS = {
    "copies": "device-to-host copies",
    "kernels": "kernels",
    "dispatches": "dispatches",
    "milliseconds": "milliseconds",
}
"""What `ascend-patches verify` measures: all but the last on the emulated NPU, the last on a real one."""


@dataclass
class Demo:
    """What a run found out."""

    requests: Sequence[questions.Request]
    vllm: dict[str, Any]
    expected: list[str]
    """The patches that ``ascend-patches status`` foresees to be applied here."""
    model_in: str
    """The role of the process that runs the model."""
    states: states.States
    comparison: Comparison
    different: list[int]
    tower: dict[str, Any]
    """What ``ascend-patches verify`` says of forwards of the checkpoint's vision tower."""

    def complaints(self) -> list[str]:
        """What is not as it should be, in words; empty where the demo shows what it is there to show."""
        if self.model_in not in self.states:
            found = [f"no patch is on in the {self.model_in}: it has left no report"]
        else:
            found = [_not_on(self.states[self.model_in][patch], self.model_in) for patch in self.expected]
        if not self.expected:
            found.append("no patch is foreseen to be applied here: ascend-patches status says why")
        for index in self.different:
            found.append(f"request {index + 1} ({self.requests[index]}) was answered with other tokens")
        return [complaint for complaint in (*found, *self.tower["differences"]) if complaint]


def _not_on(patch: Mapping[str, Any], role: str) -> str:
    if patch["state"] == "applied" or (patch["state"] == "waiting" and patch["name"] not in SERVE_THIS_MODEL):
        return ""
    return f"{patch['name']} is {patch['state']} in the {role}: {patch['reason']}"


def run(folder: Path) -> Demo:
    """Set everything up in ``folder`` and try it."""
    real_npu = surroundings.has_real_npu()
    say("on this machine's NPU" if real_npu else "on an emulated NPU: there is no NPU with vllm-ascend here")
    checkpoint = tiny_qwen3_vl.write(folder / "tiny-qwen3-vl")
    place = surroundings.prepared(folder, real_npu=real_npu)
    requests = questions.SHOWN
    with (
        launch("as upstream made it", place, checkpoint, folder / "upstream", patched=False) as upstream,
        launch("patched", place, checkpoint, folder / "patched", patched=True) as patched,
    ):
        say("starting vLLM twice: without the toolkit, and under `ascend-patches run` (a minute)")
        vllm, _ = upstream.started(say), patched.started(say)
        say(f"asking both the same {len(requests)} requests")
        comparison = Comparison()
        different = comparison.add(upstream.answers(requests), patched.answers(requests))
        found, model_in = states.of_engine(patched), states.runs_the_model(patched)
        upstream.finish()
        patched.finish()
        say("asking `ascend-patches verify` what forwards of the model's vision tower cost")
        tower = _tower(place, checkpoint)
        expected = _expected(place)
        say("waiting for both to end")
    return Demo(requests, vllm, expected, model_in, found, comparison, different, tower)


def _expected(place: Surroundings) -> list[str]:
    status = _told(place, "status")
    return [patch["name"] for patch in status["patches"] if patch.get("foreseen", {}).get("verdict") == "apply"]


def _tower(place: Surroundings, checkpoint: Path) -> dict[str, Any]:
    return _told(place, "verify", "--model", str(checkpoint), *(["--emulated"] if place.emulated else []))


def _told(place: Surroundings, *arguments: str) -> dict[str, Any]:
    """What a command of ``ascend-patches`` answers; it may have found what the demo is to complain of."""
    command = [str(place.interpreter.with_name("ascend-patches")), *arguments, "--json"]
    result = subprocess.run(command, env=dict(place.variables), capture_output=True, text=True)
    try:
        found: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        said = (result.stdout + result.stderr)[-4000:]
        raise EngineError(f"ascend-patches {arguments[0]} ended with {result.returncode}:\n{said}") from None
    return found


def text(demo: Demo) -> str:
    """What is printed."""
    return "\n".join([*_asked(demo), *_patches(demo), *_answers(demo), *_costs(demo), *_outcome(demo)])


def _asked(demo: Demo) -> list[str]:
    requests = [f"  {number}. {request}" for number, request in enumerate(demo.requests, 1)]
    where = f"vLLM {demo.vllm['vllm']} ({demo.vllm['platform']})"
    return [f"{where} serves a small Qwen3-VL, as upstream made it and patched. Both are asked:", *requests]


def _patches(demo: Demo) -> list[str]:
    roles = [role for role in ROLES if role in demo.states]
    rows = [["patch", *roles, ""]]
    names = {name for found in demo.states.values() for name in found}
    for name in sorted(names):
        found = [demo.states[role][name] for role in roles]
        rows.append([name, *(state["state"] for state in found), _why(found[-1])])
    return ["", "Which patch is on in which process:", *_table(rows)]


def _why(found: Mapping[str, Any]) -> str:
    if found["state"] == "applied":
        return ""
    return (
        "waits for code that is not loaded here"
        if found["state"] == "waiting"
        else str(found["reason"]).partition(";")[0]
    )


def _answers(demo: Demo) -> list[str]:
    found = demo.comparison
    words = f"{found.equal} of {found.requests} are equal, token for token ({found.tokens} tokens)"
    largest = f"log-probabilities are at most {found.largest:.0e} apart"
    ties = f"; {found.ties} part at two tokens as likely as each other" if found.ties else ""
    return ["", f"Answers: {words}; {largest}{ties}."]


def _costs(demo: Demo) -> list[str]:
    cases = demo.tower["cases"]
    measured = [key for key in COSTS if any(case["patched"][key] is not None for case in cases)]
    rows = [["", *(COSTS[key] for key in measured)]]
    rows += [[case["case"], *(_before_and_after(case, key) for key in measured)] for case in cases]
    where = demo.tower["device"]["name"]
    return ["", f"One forward of its vision tower, upstream -> patched ({where}):", *_table(rows)]


def _before_and_after(case: Mapping[str, Any], key: str) -> str:
    before, after = case["original"][key], case["patched"][key]
    return "-" if before is None or after is None else f"{before:.4g} -> {after:.4g}"


def _outcome(demo: Demo) -> list[str]:
    complaints = demo.complaints()
    if complaints:
        return ["", "This is not as it should be:", *(f"  {complaint}" for complaint in complaints)]
    return [
        "",
        "Next:",
        *_table(
            [
                ["ascend-patches check vllm==X vllm-ascend==Y", "what every patch would do on the releases you run"],
                ["ascend-patches run -- vllm serve MODEL", "one server with the patches; README.md has two more ways"],
                ["tools/demo --toy", "a stranger's patch for a toy package: switched, reported, undone"],
            ]
        ),
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
