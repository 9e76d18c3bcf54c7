"""Prometheus metrics: what the patches are doing, among the metrics of a process that has some anyway.

Loaded by activation once the process itself has imported prometheus_client. Nothing here is on the way of a request:
values are made up when they are scraped or, where prometheus_client is in its multi-process mode, when a state changes.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from ascend_patches.basics.paths import from_variable
from ascend_patches.reporting import report

if TYPE_CHECKING:
    from ascend_patches.process.toolkit import Toolkit

STATE = "ascend_patches_state"
ABOUT_STATE = "1 for the state that a patch is in"
SHADOW = {
    "compared": ("ascend_patches_shadow_compared", "Calls of a patch that were compared with the original"),
    "mismatches": ("ascend_patches_shadow_mismatches", "Calls of a patch whose result was not the original's"),
}


class State(NamedTuple):
    """The labels that tell the state of one patch."""

    patch: str
    state: str
    variant: str


class Reported(NamedTuple):
    """What there is to tell of one patch in one process; ``shadow`` has the counts, if its calls are compared."""

    pid: int
    state: State
    shadow: Mapping[str, int]


class Metrics:
    """The toolkit's part in the metrics of one process."""

    def __init__(self, toolkit: Toolkit, client: Any) -> None:
        self.registry = client.REGISTRY
        self._toolkit = toolkit
        self._files = _MultiprocessMetrics(toolkit, client) if os.environ.get("PROMETHEUS_MULTIPROC_DIR") else None
        self.registry.register(_Collector(toolkit, client))

    def publish(self) -> None:
        """A state may have changed."""
        if self._files is not None:
            self._files.write()


class _Collector:
    """Answers a scrape of prometheus_client's own registry, with the states as they are at that moment.

    Workers serve no metrics of their own. Those that leave a report in the same folder as this process are included.
    """

    def __init__(self, toolkit: Toolkit, client: Any) -> None:
        self._toolkit = toolkit
        self._client = client
        self._complained = False

    def describe(self) -> list[Any]:
        core = self._client.metrics_core
        counters = [core.CounterMetricFamily(*about, labels=("patch", "pid")) for about in SHADOW.values()]
        return [core.GaugeMetricFamily(STATE, ABOUT_STATE, labels=(*State._fields, "pid")), *counters]

    def collect(self) -> list[Any]:
        states, *counters = families = self.describe()
        try:
            for seen in self._all():
                states.add_metric((*seen.state, str(seen.pid)), 1)
                for what, family in zip(SHADOW, counters, strict=True):
                    if what in seen.shadow:
                        family.add_metric((seen.state.patch, str(seen.pid)), seen.shadow[what])
        except Exception as error:  # or the whole scrape would fail
            self._complain(f"{type(error).__name__}: {error}")
        return families

    def _complain(self, what: str) -> None:
        """Say once why a scrape is not complete: the next one would find the same, or one more of the kind."""
        if not self._complained:
            self._complained = True
            self._toolkit.complain(f"metrics are not complete: {what}")

    def _all(self) -> Iterator[Reported]:
        yield from _of_this_process(self._toolkit)
        folder = from_variable("ASCEND_PATCHES_REPORT_DIR")
        refused: list[str] = []
        for data in report.of_the_others(folder, refused) if folder else ():
            for patch in data["patches"]:
                state = State(patch["name"], patch["state"], patch["variant"] or "")
                yield Reported(data["pid"], state, patch.get("shadow") or {})
        if refused:
            more = f", and {len(refused) - 1} more; ascend-patches status --dir names them" if len(refused) > 1 else ""
            self._complain(f"{refused[0]}{more}")


class _MultiprocessMetrics:
    """Keeps the values in the files that prometheus_client's multi-process mode merges.

    It adds a label pid to states, and the counts of all processes to each other.
    """

    def __init__(self, toolkit: Toolkit, client: Any) -> None:
        self._toolkit = toolkit
        self._states = client.Gauge(STATE, ABOUT_STATE, State._fields, registry=None, multiprocess_mode="liveall")
        self._counters = {what: client.Counter(*about, ("patch",), registry=None) for what, about in SHADOW.items()}
        self._written: set[State] = set()
        self._counted: dict[tuple[str, str], int] = {}
        self._forked_alone = False
        self.write()
        atexit.register(_withdraw_this_process)
        os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def write(self) -> None:
        try:
            values = list(_of_this_process(self._toolkit))
            self._write_states({each.state for each in values})
            for each in values:
                self._write_counts(each.state.patch, each.shadow)
        except Exception as error:
            self._toolkit.complain(f"metrics cannot be written: {type(error).__name__}: {error}")

    def _write_states(self, current: set[State]) -> None:
        for state in self._written | current:
            self._states.labels(*state).set(1 if state in current else 0)
        self._written |= current

    def _write_counts(self, patch: str, counts: Mapping[str, int]) -> None:
        for what, counter in self._counters.items():
            count, before = counts.get(what, 0), self._counted.get((what, patch), 0)
            if what in counts:
                counter.labels(patch).inc(count - before)
            self._counted[what, patch] = count

    def _before_fork(self) -> None:
        self._forked_alone = threading.active_count() == 1

    def _after_fork(self) -> None:
        # Another thread of the parent may have held prometheus_client's lock, which then stays locked in the child.
        if self._forked_alone:
            self.write()


def _of_this_process(toolkit: Toolkit) -> Iterator[Reported]:
    toolkit.look()
    for name, status in sorted(toolkit.patches.items()):
        variant = status.variant.name if status.variant is not None else ""
        shadow = status.shadow.as_data() if status.shadow is not None else {}
        yield Reported(os.getpid(), State(name, status.state, variant), shadow)


def _withdraw_this_process() -> None:
    """What prometheus_client asks for when a process ends; many, such as vLLM's inspection of models, are short."""
    if os.path.isdir(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")):
        import_module("prometheus_client.multiprocess").mark_process_dead(os.getpid())
