"""From patches.toml and the environment to what is on: which mode, which patches, with which options.

A settings file only chooses among known patches and options; it never names code. A mistake anywhere in the settings
is a mistake in all of them: nothing is guessed, and nothing is switched on by settings that cannot be understood.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ascend_patches.basics.paths import absolute
from ascend_patches.declaring.patch import OptionValue, Patch
from ascend_patches.errors import SettingsError, VersionError
from ascend_patches.settings.mode import asked_for
from ascend_patches.settings.model import MODES, REPORT_READERS, UNKNOWN, Override, PatchSettings, Settings
from ascend_patches.settings.permissions import read_trusted
from ascend_patches.upstream.distributions import normalised
from ascend_patches.upstream.environment import here
from ascend_patches.upstream.versions import Range, parse_range

if TYPE_CHECKING:
    from ascend_patches.settings.lines import Path

MACHINE_WIDE = "/etc/ascend_patches/patches.toml"

SHARE = "a number from 0 to 1"
COUNT = "an integer from 0 on"

_PREFIX = "ASCEND_PATCHES_"
VARIABLES = (
    *("CONFIG", "DEBUG", "DISABLE", "ENABLE", "LAST_WORDS", "REPORT_DIR", "REPORT_READERS", "ROOTS", "SHADOW"),
    "SHADOW_DIR",
)
"""The variables that have a meaning, without what their names begin with."""
PACKAGES = ("vllm", "vllm-ascend", "torch", "torch-npu", "transformers")
"""What conditions usually name."""
_DEEPEST = len(("patches", "NAME", "override", 0, "when", "PACKAGE"))


def load(patches: Mapping[str, Patch], path: str | os.PathLike[str] | None = None) -> Settings:
    """The settings in force: the file, if there is one, and the environment on top.

    Raises SettingsError with every mistake found, each naming file, line, key, what was expected and the nearest name.
    """
    file = find_file(path)
    settings = read_file(file, patches) if file is not None else Settings()
    return _with_environment(settings, patches)


def find_file(path: str | os.PathLike[str] | None = None) -> str | None:
    """The settings file to read: the named one, else the environment's, else the machine's, else none."""
    for named in (path, os.environ.get("ASCEND_PATCHES_CONFIG") or None):
        if named is not None:
            return absolute(os.path.expanduser(os.fspath(named)))
    return next((place for place in (environment_wide(), MACHINE_WIDE) if os.path.lexists(place)), None)


def environment_wide() -> str:
    """Where this Python environment keeps its settings."""
    return os.path.join(sys.prefix, "etc", "ascend_patches", "patches.toml")


def read_file(file: str, patches: Mapping[str, Patch]) -> Settings:
    """One settings file, checked against the patches that are known."""
    # Here, because most processes have no settings file and need not pay for the parser.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    text = read_trusted(file)
    try:
        try:
            document = tomllib.loads(text)
        except ValueError as error:  # TOMLDecodeError is one; so is what Python says of a number of ten thousand digits
            raise SettingsError([f"{file}: not TOML: {error}"]) from None
        return _Reader(file, text, patches).read(document)
    except RecursionError:
        raise SettingsError([f"{file}: not read: nested too deeply"]) from None


def _with_environment(settings: Settings, patches: Mapping[str, Patch]) -> Settings:
    mistakes: list[str] = []
    mode = asked_for() or settings.mode
    if mode not in MODES:
        mistakes.append(f"ASCEND_PATCHES={mode!r}: expected one of {', '.join(MODES)}{_nearest(mode, MODES)}")
    enable, disable = _names_in("ASCEND_PATCHES_ENABLE"), _names_in("ASCEND_PATCHES_DISABLE")
    for name in sorted(enable & disable):
        mistakes.append(f"ASCEND_PATCHES_ENABLE and ASCEND_PATCHES_DISABLE both name {name!r}")
    for variable, names in (("ASCEND_PATCHES_ENABLE", enable), ("ASCEND_PATCHES_DISABLE", disable)):
        for name in sorted(names - patches.keys() - {"all"}):
            mistakes.append(f"{variable}: there is no patch {name!r}{_nearest(name, patches)}")
    shadow_of = _shares(patches, mistakes)
    mistakes += _misspelt_variables()
    readers = os.environ.get("ASCEND_PATCHES_REPORT_READERS", "").strip().lower() or settings.report_readers
    if readers not in REPORT_READERS:
        expected = f"expected one of {', '.join(REPORT_READERS)}{_nearest(readers, REPORT_READERS)}"
        mistakes.append(f"ASCEND_PATCHES_REPORT_READERS={readers!r}: {expected}")
    if mistakes:
        raise SettingsError(mistakes, strict=(mode if mode in MODES else settings.mode) == "strict")
    # What is named counts for more than "all", so that one variable can say "all" and the other the exceptions.
    return settings._replace(
        mode=mode,
        enable=enable if "all" not in enable else frozenset(patches) - disable,
        disable=disable if "all" not in disable else frozenset(patches) - enable,
        shadow_of=shadow_of,
        report_readers=readers,
    )


def _misspelt_variables() -> Iterator[str]:
    """Variables that look like ours and are not: what they say would be silently without effect."""
    for variable in sorted(os.environ):
        if variable.startswith(_PREFIX) and variable.removeprefix(_PREFIX) not in VARIABLES:
            near = _nearest(variable.removeprefix(_PREFIX), VARIABLES, 0.7).replace("'", f"'{_PREFIX}", 1)
            if near:
                yield f"{variable}: there is no such variable{near}"


def _shares(patches: Mapping[str, Patch], mistakes: list[str]) -> Mapping[str, float]:
    """What ASCEND_PATCHES_SHADOW says: a share for all, or NAME=SHARE,...; a mistake in it is added to the others."""
    shares: dict[str, float] = {}
    for entry in sorted(_names_in("ASCEND_PATCHES_SHADOW"), key=lambda each: "=" in each):
        name, _, text = entry.rpartition("=")
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if name and name not in patches:
            mistakes.append(f"ASCEND_PATCHES_SHADOW: there is no patch {name!r}{_nearest(name, patches)}")
        elif not is_share(share):
            mistakes.append(f"ASCEND_PATCHES_SHADOW: {text!r} is not {SHARE}; expected a share, or NAME=SHARE,...")
        else:
            shares.update(dict.fromkeys([name] if name else patches, share))
    return shares


def is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]


def is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _names_in(variable: str) -> frozenset[str]:
    return frozenset(filter(None, (name.strip() for name in os.environ.get(variable, "").split(","))))


_TRUST: Mapping[str, tuple[str, Callable[[object], bool], float]] = {
    "shadow": (SHARE, is_share, 0.0),
    "quarantine": (COUNT, is_count, 1),
}


class _Reader:
    """Turns one parsed document into settings and collects every mistake on the way."""

    def __init__(self, file: str, text: str, patches: Mapping[str, Patch]) -> None:
        self.file = file
        self.text = text
        self.patches = patches
        self.mistakes: list[str] = []

    def read(self, document: dict[str, Any]) -> Settings:
        self._only((), document, ("mode", "unknown", *_TRUST, "report_readers", "patches"))
        mode = self._one_of(("mode",), document.get("mode", "on"), MODES)
        unknown = self._one_of(("unknown",), document.get("unknown", "skip"), UNKNOWN)
        readers = self._one_of(("report_readers",), document.get("report_readers", "group"), REPORT_READERS)
        trust = {key: self._trust((key,), key, document[key]) for key in _TRUST if key in document}
        said: dict[str, PatchSettings] = {}
        tables = document.get("patches", {})
        if self._is(("patches",), tables, dict, "a table of patches"):
            for name, table in tables.items():
                if name in self.patches:
                    said[name] = self._patch(self.patches[name], table)
                else:
                    self._mistake(("patches", name), f"there is no patch {name!r}{_nearest(name, self.patches)}")
        if self.mistakes:
            raise SettingsError(self.mistakes, strict=mode == "strict")
        return Settings(mode, unknown, said, file=self.file, report_readers=readers)._replace(**trust)

    def _patch(self, patch: Patch, table: object) -> PatchSettings:
        path: Path = ("patches", patch.name)
        if isinstance(table, bool):
            return PatchSettings({"enabled": table})
        if not self._is(path, table, dict, "true, false or a table"):
            return PatchSettings()
        assert isinstance(table, dict)
        table = dict(table)
        given = table.pop("override", [])
        values = self._values(patch, path, table)
        overrides: list[Override] = []
        if self._is((*path, "override"), given, list, "an array of tables, [[patches.NAME.override]]"):
            for index, entry in enumerate(given):
                override = self._override(patch, (*path, "override", index), entry)
                if override is not None:
                    overrides.append(override)
        if len(overrides) > 1:
            self._report_contradictions(overrides)
        return PatchSettings(values, tuple(overrides))

    def _report_contradictions(self, overrides: list[Override]) -> None:
        # Most settings have no two overrides, and every process reads settings before its first import ends.
        from ascend_patches.settings.contradictions import contradictions

        for later, earlier, disputed in contradictions(overrides):
            self._mistake(
                later.path,
                f"contradicts the override of line {self._lines[earlier.path]} about {', '.join(disputed)}: "
                f"some release is in [{earlier.condition}] and in [{later.condition}]",
            )

    def _values(self, patch: Patch, path: Path, table: Mapping[str, object]) -> dict[str, OptionValue]:
        self._only(path, table, ("enabled", "unknown", *_TRUST, *patch.options, "override"))
        values: dict[str, OptionValue] = {}
        for key, value in table.items():
            place = (*path, key)
            if key == "enabled":
                if self._is(place, value, bool, "true or false"):
                    values[key] = bool(value)
            elif key == "unknown":
                values[key] = self._one_of(place, value, UNKNOWN)
            elif key in _TRUST:
                values[key] = self._trust(place, key, value)
            elif key in patch.options:
                option = patch.options[key]
                if option.admits(value):
                    values[key] = option.read(value)
                else:
                    self._mistake(place, f"expected {option.expected()}, found {_shown(value)}")
        return values

    def _override(self, patch: Patch, path: Path, entry: object) -> Override | None:
        if not self._is(path, entry, dict, "a table"):
            return None
        assert isinstance(entry, dict)
        entry = dict(entry)
        if "when" not in entry:
            self._mistake(path, 'an override needs a condition, such as when = { vllm = ">=0.15,<0.16" }')
            return None
        condition = entry.pop("when")
        if not entry:
            self._mistake(path, "an override needs something to set, such as enabled = false")
        values = self._values(patch, path, entry)
        place = (*path, "when")
        if not self._is(place, condition, dict, 'a table of version ranges, such as { vllm = ">=0.15,<0.16" }'):
            return None
        if not condition:
            self._mistake(place, "the condition names no package")
        when: dict[str, Range] = {}
        for package, versions in condition.items():
            name = normalised(package)
            if not name.replace("-", "").isalnum():
                self._mistake((*place, package), "is not the name of a package")
            elif name in when:
                self._mistake((*place, package), "the condition names this package twice")
            elif misspelt := _misspelt_package(name):
                self._mistake((*place, package), f"there is no such package here{misspelt}")
            elif self._is((*place, package), versions, str, "a range of versions in quotes"):
                try:
                    when[name] = parse_range(versions)
                except VersionError as error:
                    self._mistake((*place, package), str(error))
        return Override(when, values, path)

    def _only(self, path: Path, table: Mapping[str, object], expected: tuple[str, ...]) -> None:
        for key in table:
            if key not in expected:
                self._mistake(
                    (*path, key),
                    f"unknown key {key!r}; expected {', '.join(expected)}{_nearest(key, expected)}",
                )

    def _one_of(self, path: Path, value: object, expected: tuple[str, ...]) -> str:
        if isinstance(value, str) and value in expected:
            return value
        wanted = ", ".join(repr(name) for name in expected)
        self._mistake(path, f"expected one of {wanted}, found {_shown(value)}{_nearest(value, expected)}")
        return expected[0]

    def _trust(self, path: Path, key: str, value: Any) -> Any:
        expected, admits, default = _TRUST[key]
        if admits(value):
            return value
        self._mistake(path, f"expected {expected}, found {_shown(value)}")
        return default

    def _is(self, path: Path, value: object, kind: type, expected: str) -> bool:
        if isinstance(value, kind):
            return True
        self._mistake(path, f"expected {expected}, found {_shown(value)}")
        return False

    def _mistake(self, path: Path, what: str) -> None:
        key = ".".join(str(part) if isinstance(part, str) else f"[{part + 1}]" for part in path).replace(".[", "[")
        self.mistakes.append(f"{self.file}, line {self._lines[path]}: {key}: {what}")

    @cached_property
    def _lines(self) -> Mapping[Path, int]:
        from ascend_patches.settings.lines import lines_of

        return lines_of(self.text, depth=_DEEPEST)


def _misspelt_package(name: str) -> str:
    """The package that a condition means, where it names none that is here but one that is spelt almost alike."""
    return "" if name in PACKAGES or here.installed(name) is not None else _nearest(name, PACKAGES, 0.8)


def _nearest(name: object, known: Iterable[str], least: float = 0.5) -> str:
    if not isinstance(name, str):
        return ""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 1, least)
    return f"; did you mean {close[0]!r}?" if close else ""


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of ten thousand digits, tables in tables in tables
        return f"{type(value).__name__} too large to be shown"
    return text if len(text) <= 60 else text[:57] + "..."
