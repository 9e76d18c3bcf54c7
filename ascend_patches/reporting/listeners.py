"""What follows this process's toolkit: reports, metrics and last words, each loaded only where it is wanted."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from ascend_patches.basics.modules import is_being_executed
from ascend_patches.basics.paths import from_variable
from ascend_patches.process.complaints import described
from ascend_patches.process.listener import Listener
from ascend_patches.process.toolkit import Toolkit

if TYPE_CHECKING:
    from ascend_patches.reporting.metrics import Metrics

_CLIENT = "prometheus_client"


class Reports(Listener):
    """Leaves a report in the folder that the environment names, if it names one."""

    def __init__(self, toolkit: Toolkit) -> None:
        self._toolkit = toolkit

    def changed(self) -> str:
        folder = from_variable("ASCEND_PATCHES_REPORT_DIR")
        if not folder:
            return ""
        from ascend_patches.reporting import report

        try:
            report.leave(self._toolkit, folder)
        except OSError as error:
            return f"no report left in {folder}: {error.strerror or error}"
        except Exception as error:
            return f"no report left in {folder}: {described(error)}"
        return ""

    def forked(self) -> str:
        return self.changed()


class MetricsOfProcess(Listener):
    """Registers our metrics once the process uses prometheus_client, and never imports it."""

    def __init__(self, toolkit: Toolkit) -> None:
        self._toolkit = toolkit
        self._metrics: Metrics | None = None

    def activated(self) -> None:
        self._toolkit.imports.watch_besides([_CLIENT], self._client_imported)
        client = sys.modules.get(_CLIENT)
        if client is not None and not is_being_executed(client):
            self._client_imported(_CLIENT, client, frozenset())

    def changed(self) -> str:
        if self._metrics is not None:
            self._metrics.publish()
        return ""

    def _client_imported(self, name: str, client: ModuleType, already_there: frozenset[str]) -> None:
        try:
            from ascend_patches.reporting.metrics import Metrics

            if self._metrics is None or self._metrics.registry is not client.REGISTRY:
                self._metrics = Metrics(self._toolkit, client)
        except Exception as error:
            self._toolkit.complain(f"not among the metrics: {described(error)}")


class LastWords(Listener):
    """Has the first process of a server say why one of its processes stopped."""

    def strict(self) -> None:
        from ascend_patches.reporting import last_words

        last_words.keep()

    def stopped(self, reason: str) -> None:
        from ascend_patches.reporting import last_words

        last_words.leave(reason)
