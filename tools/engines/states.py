"""What every patch is doing in every process of an engine, by the reports that the processes leave."""

from __future__ import annotations

import json
from typing import Any

from .processes import ENGINE_CORE, WORKER
from .running import Engine

States = dict[str, dict[str, dict[str, Any]]]
"""By the role of the process and the patch's name."""


def of_engine(engine: Engine) -> States:
    """The states that a running engine's processes have reported."""
    roles = {process.pid: process.role for process in engine.processes()}
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(engine.reports.glob("*.json"))]
    return {
        roles[report["pid"]]: {patch["name"]: patch for patch in report["patches"]}
        for report in reports
        if report["pid"] in roles
    }


def runs_the_model(engine: Engine) -> str:
    """The role of the process that runs the model: a worker, or the engine core where it needs no worker."""
    return WORKER if any(process.role == WORKER for process in engine.processes()) else ENGINE_CORE
