"""This process's toolkit: the place where its parts are wired together."""

from __future__ import annotations

from ascend_patches import catalogue
from ascend_patches.declaring import process_identity
from ascend_patches.process.toolkit import Toolkit
from ascend_patches.reporting.listeners import LastWords, MetricsOfProcess, Reports
from ascend_patches.starting.additional_config import AdditionalConfig


def wired() -> Toolkit:
    """A toolkit that knows the patches of the catalogue and is followed by reports, metrics and last words."""
    made = Toolkit(catalogue.known)
    made.listeners += [MetricsOfProcess(made), Reports(made), LastWords(), AdditionalConfig(made)]
    return made


toolkit = wired()
process_identity.provide(toolkit.identity_to_come)


def activate(how: str) -> None:
    """Activate this process's toolkit from within an import."""
    with toolkit.import_guard():
        toolkit.activate(how)
