"""The settings as values: which mode, which patches, with which options, and what is in force in some surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ascend_patches.basics.value import Value
from ascend_patches.declaring.patch import OptionValue, Patch
from ascend_patches.errors import SettingsError
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.versions import Range

if TYPE_CHECKING:
    from ascend_patches.settings.lines import Path

MODES = ("on", "off", "strict")
UNKNOWN = ("skip", "apply")
REPORT_READERS = ("owner", "group", "all")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Override(Value):
    """Other values for the releases that its condition names."""

    when: Mapping[str, Range]
    values: Mapping[str, OptionValue]
    path: Path

    def applies(self, where: Environment) -> bool:
        return all(self._admits(where, package, range_) for package, range_ in self.when.items())

    @property
    def condition(self) -> str:
        """The condition as a person would write it."""
        return " and ".join(f"{package} {range_}" for package, range_ in self.when.items())

    @staticmethod
    def _admits(where: Environment, package: str, range_: Range) -> bool:
        found = where.installed(package)
        return found is not None and found.version is not None and range_.admits(found.version)


class PatchSettings(Value):
    """What the file says of one patch."""

    values: Mapping[str, OptionValue] = _NOTHING
    overrides: tuple[Override, ...] = ()
    origin: str = ""
    """Where it is said whether the patch is on; empty for the settings file."""


class Choice(Value):
    """What is in force for one patch: on or off, why, with which options, and what to do with unknown code.

    ``shadow`` is the share of calls that run the original too, and ``quarantine`` how many of these may differ before
    the patch is reverted; 0 for never.
    """

    enabled: bool
    reason: str
    options: Mapping[str, OptionValue]
    unknown: str
    shadow: float = 0.0
    quarantine: int = 1


class Settings(Value):
    """The settings in force in this process."""

    mode: str = "on"
    unknown: str = "skip"
    patches: Mapping[str, PatchSettings] = _NOTHING
    enable: frozenset[str] = frozenset()
    disable: frozenset[str] = frozenset()
    file: str | None = None
    shadow: float = 0.0
    quarantine: int = 1
    report_readers: str = "group"
    """Who may read the reports that processes leave: their owner alone, the owner's group, or all."""
    shadow_of: Mapping[str, float] = _NOTHING
    """The shares that the environment gives, by patch."""

    def choice(self, patch: Patch, where: Environment) -> Choice:
        """What is in force for a patch in those surroundings; SettingsError if two overrides disagree there."""
        said = self.patches.get(patch.name, PatchSettings())
        values: dict[str, OptionValue] = {
            "enabled": patch.default,
            "unknown": self.unknown,
            "shadow": self.shadow,
            "quarantine": self.quarantine,
            **{name: option.default for name, option in patch.options.items()},
        }
        reason = "by default"
        if "enabled" in said.values:
            reason = f"by {said.origin or self.file}"
        values |= said.values
        in_force: dict[str, Override] = {}
        for override in said.overrides:
            if not override.applies(where):
                continue
            for key, value in override.values.items():
                if key in in_force and in_force[key].values[key] != value:
                    both = f"[{in_force[key].condition}] and [{override.condition}]"
                    where_to_look = f"{self.file}: patches.{patch.name}.{key}"
                    mistake = f"{where_to_look}: two overrides apply here and disagree: {both}"
                    raise SettingsError([mistake], strict=self.mode == "strict")
                in_force[key] = override
                values[key] = value
                if key == "enabled":
                    reason = f"by {self.file}, for {override.condition}"
        for names, switched, variable in (
            (self.enable, True, "ASCEND_PATCHES_ENABLE"),
            (self.disable, False, "ASCEND_PATCHES_DISABLE"),
        ):
            if patch.name in names:
                values["enabled"], reason = switched, f"by {variable}"
        values["shadow"] = self.shadow_of.get(patch.name, values["shadow"])
        enabled, unknown = bool(values.pop("enabled")), str(values.pop("unknown"))
        shadow, quarantine = float(values.pop("shadow")), int(values.pop("quarantine"))
        why = f"switched {'on' if enabled else 'off'} {reason}"
        return Choice(enabled, why, values, unknown, shadow, quarantine)
