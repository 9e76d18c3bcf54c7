"""Settings that vLLM hands to its processes: ``--additional-config '{"ascend_patches": {...}}'``.

vLLM makes its configuration after the toolkit is at work, and hands it to the engine core and to every worker. The two
places that every supported release passes through are watched: the end of the configuration's construction, and the
function that makes a configuration the current one, which each worker calls before it makes a model.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

from ascend_patches.errors import SettingsError, StrictModeError
from ascend_patches.process.listener import Listener
from ascend_patches.process.resettling import resettle
from ascend_patches.process.toolkit import Toolkit
from ascend_patches.settings.additional import KEY, ORIGIN, merged
from ascend_patches.settings.model import Settings

HOMES = ("vllm.config.vllm", "vllm.config")
"""The modules that have had VllmConfig and set_current_vllm_config."""


class AdditionalConfig(Listener):
    """Waits for vLLM's configuration, and has the toolkit go on with what it says of patches."""

    def __init__(self, toolkit: Toolkit) -> None:
        self._toolkit = toolkit
        self._taken: object = None
        self._before: Settings | None = None
        """The settings without any configuration of vLLM's."""

    def activated(self) -> None:
        after = self._toolkit.imports.finder.after
        for name in HOMES:
            after[name] = _both(after.get(name), self._watch)
            if name in sys.modules:
                self._watch(sys.modules[name])

    def take(self, config: object) -> None:
        """Go on with what a configuration says, the first time that it is met."""
        additional = getattr(config, "additional_config", None)
        document = additional.get(KEY) if isinstance(additional, dict) else None
        if document is None or document == self._taken:
            return
        # A copy by way of text: importing the module copy runs whatever finder looks for a module of Jython.
        self._taken = json.loads(json.dumps(document))
        toolkit = self._toolkit
        with toolkit.import_guard():
            if self._before is None:
                self._before = toolkit.settings
            try:
                settings = merged(self._before, document, toolkit.registry.patches)
                resettle(toolkit, settings, f"switched off by {ORIGIN}" if settings.mode == "off" else "")
            except SettingsError as error:
                strict = error.strict or self._before.mode == "strict"
                resettle(toolkit, self._before, "switched off because the settings cannot be used")
                if strict:
                    raise StrictModeError(f"strict mode: {error}") from None
                toolkit.complain(f"{error}\nno patch is on")

    def _watch(self, module: Any) -> None:
        """Look at every configuration that passes through a module of vLLM's."""
        names = vars(module)
        made = names.get("VllmConfig")
        if isinstance(made, type) and made.__module__ == module.__name__ and "__post_init__" in vars(made):
            finish = vars(made)["__post_init__"]
            if not hasattr(finish, "_looked_at_by_ascend_patches"):
                made.__post_init__ = self._afterwards(finish)  # type: ignore[attr-defined]
        current = names.get("set_current_vllm_config")
        if current is not None and not hasattr(current, "_looked_at_by_ascend_patches"):
            instead = self._beforehand(current)
            for other in list(sys.modules.values()):  # those that took the name from here already
                if getattr(other, "__dict__", {}).get("set_current_vllm_config") is current:
                    vars(other)["set_current_vllm_config"] = instead

    def _afterwards(self, finish: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(finish)
        def __post_init__(config: Any, *arguments: Any, **named: Any) -> Any:  # noqa: N807
            result = finish(config, *arguments, **named)
            self.take(config)
            return result

        __post_init__._looked_at_by_ascend_patches = True  # type: ignore[attr-defined]
        return __post_init__

    def _beforehand(self, current: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(current)
        def set_current_vllm_config(*arguments: Any, **named: Any) -> Any:
            self.take(arguments[0] if arguments else named.get("vllm_config"))
            return current(*arguments, **named)

        set_current_vllm_config._looked_at_by_ascend_patches = True  # type: ignore[attr-defined]
        return set_current_vllm_config


def _both(
    first: Callable[[str, Any, frozenset[str]], None] | None, then: Callable[[Any], None]
) -> Callable[[str, Any, frozenset[str]], None]:
    def after(name: str, module: Any, already_there: frozenset[str]) -> None:
        if first is not None:
            first(name, module, already_there)
        then(module)

    return after
