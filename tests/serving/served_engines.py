"""Engines that were run to their end, and what was seen of them: served over HTTP, or of a script with ``vllm.LLM``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.questions import Answer, ask, watch_it_die
from serving.serving_site import Site, engine_environment
from serving.vllm_processes import ENDED, roles
from serving.vllm_server import PATIENCE, Server, kill_group

from ascend_patches.reporting import report

HERE = Path(__file__).parent

# What serves this checkpoint; the other patches are for other models.
SERVING = ("mm-encoder-attention", "qwen3-vl-vision", "rotary-embedding")


@dataclass(frozen=True)
class Seen:
    """What was seen of an engine: its processes by their role, and each report beside the role of who left it."""

    tokens: list[tuple[int, ...]]
    processes: list[str]
    reports: list[tuple[str, dict[str, Any]]]
    output: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    start_method: str = ""
    heard_of_the_death: str = ""
    exit_code: int | None = None

    @property
    def complaints(self) -> list[str]:
        return complaints(self.output)

    def states(self, patch: str) -> dict[str, str]:
        """The state of a patch by role."""
        return {role: one["state"] for role, data in self.reports for one in data["patches"] if one["name"] == patch}

    def applied(self) -> list[set[str]]:
        """What is applied in each process that left a report."""
        return [{patch["name"] for patch in data["patches"] if patch["state"] == "applied"} for _, data in self.reports]


Serve = Callable[[str], Seen]
"""Gives the engine that the toolkit reached in the named way."""


@dataclass(frozen=True)
class Engines:
    """Runs engines of one checkpoint; they share vLLM's cache, as those of a deployment do."""

    checkpoint: Path
    cache: Path

    def serve(
        self,
        site: Site,
        folder: Path,
        *options: str,
        command: Sequence[str] = (),
        kill_a_worker: bool = False,
        **variables: str,
    ) -> Seen:
        """``vllm serve``, asked everything; then ended, or a worker of it killed in the middle of an answer."""
        reports = folder / "reports"
        env = self._environment(**{"ASCEND_PATCHES_REPORT_DIR": str(reports), **variables})
        with Server([*command, site.command("vllm")], env, self.checkpoint, *options) as server:
            assert server.comes_up(), server.output[-8000:]
            answers = ask(server.port)
            processes = roles(server.process.pid)
            left = _read(reports, processes)
            heard, code = "", None
            if kill_a_worker:
                heard = watch_it_die(server.port, server.kill_worker)
                code = server.ended()
        tokens = [answer.tokens for answer in next(iter(answers.values()))]
        return Seen(
            tokens=tokens,
            processes=sorted(processes.values()),
            reports=left,
            output=server.output,
            answers=answers,
            heard_of_the_death=heard,
            exit_code=code,
        )

    def refuse(self, site: Site, command: Sequence[str] = (), **variables: str) -> tuple[int, list[str]]:
        """``vllm serve`` that does not come up: its exit code and its last lines."""
        with Server([*command, site.command("vllm")], self._environment(**variables), self.checkpoint) as server:
            assert not server.comes_up(), server.output[-8000:]
            return server.ended(), server.lines[-12:]

    def script(self, site: Site, folder: Path, *arguments: str, one_process: bool = False, **variables: str) -> Seen:
        """A script with ``vllm.LLM``, whose engine may be in its own process, which is cheaper."""
        reports, seen = folder / "reports", folder / "seen.json"
        multiprocessing = "0" if one_process else "1"
        env = self._environment(
            PYTHONPATH=str(HERE),
            ASCEND_PATCHES_REPORT_DIR=str(reports),
            VLLM_ENABLE_V1_MULTIPROCESSING=multiprocessing,
            **variables,
        )
        script = subprocess.Popen(
            [site.python, HERE / "llm_run.py", self.checkpoint, seen, *arguments],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = script.communicate(timeout=PATIENCE)
        finally:
            kill_group(script.pid)
        assert script.returncode == 0, output[-8000:]
        said = json.loads(seen.read_text())
        processes = {int(pid): role for pid, role in said["roles"].items()}
        return Seen(
            tokens=[tuple(answer) for answer in said["tokens"]],
            processes=sorted(processes.values()),
            reports=_read(reports, processes),
            output=output,
            modules=tuple(said["modules"]),
            start_method=said["start method"] or "",
        )

    def _environment(self, **variables: str) -> dict[str, str]:
        return engine_environment(VLLM_CACHE_ROOT=str(self.cache), **variables)


def complaints(output: str) -> list[str]:
    """What the toolkit said, in whichever process; vLLM puts the process's name in front of some lines."""
    return [line.partition("ascend_patches: ")[2] for line in output.splitlines() if "ascend_patches: " in line]


def _read(folder: Path, roles_of: dict[int, str]) -> list[tuple[str, dict[str, Any]]]:
    if not folder.exists():
        return []
    found, problems = report.read(str(folder))
    assert problems == []
    return [(roles_of.get(data["pid"], ENDED), data) for data in found]
