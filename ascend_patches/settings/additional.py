"""Settings inside vLLM's own configuration: ``--additional-config '{"ascend_patches": {...}}'``.

They are written like a settings file, as JSON, without overrides for releases. In the order of settings they come after
the file and before the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ascend_patches.declaring.patch import Patch
from ascend_patches.errors import SettingsError
from ascend_patches.settings import mode
from ascend_patches.settings.model import Override, PatchSettings, Settings
from ascend_patches.settings.reader import _Reader

if TYPE_CHECKING:
    from ascend_patches.settings.lines import Path

KEY = "ascend_patches"
ORIGIN = "--additional-config"


def merged(base: Settings, document: object, patches: Mapping[str, Patch]) -> Settings:
    """The settings in force once the document is known; SettingsError with every mistake in it."""
    if not isinstance(document, dict):
        raise SettingsError([f"{ORIGIN}: {KEY}: expected an object as in a settings file, found {document!r:.60}"])
    said = _AdditionalReader(ORIGIN, "", patches).read(document)
    together = dict(base.patches)
    for name, given in said.patches.items():
        before = together.get(name, PatchSettings())
        together[name] = PatchSettings(
            {**before.values, **given.values},
            tuple(filter(None, (_without(override, given.values) for override in before.overrides))),
            ORIGIN if "enabled" in given.values else before.origin,
        )
    changed = {key: getattr(said, key) for key in ("unknown", "shadow", "quarantine") if key in document}
    if "mode" in document and not mode.asked_for():
        changed["mode"] = said.mode
    return base._replace(patches=together, **changed)


def _without(override: Override, values: Mapping[str, object]) -> Override | None:
    """An override of the settings file, without what the document says itself."""
    left = {key: value for key, value in override.values.items() if key not in values}
    return override._replace(values=left) if left else None


class _AdditionalReader(_Reader):
    """Reads the document as a settings file is read; it has no lines, and is for one start on one release."""

    def _mistake(self, path: Path, what: str) -> None:
        key = ".".join([KEY, *map(str, path)])
        self.mistakes.append(f"{self.file}: {key}: {what}")

    def _override(self, patch: Patch, path: Path, entry: object) -> Override | None:
        self._mistake(path, "overrides for releases belong into a settings file")
        return None
