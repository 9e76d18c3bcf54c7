"""The surroundings that gates are judged in: this process, or a release that is asked about."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from packaging.version import Version

from ascend_patches.basics.value import Value
from ascend_patches.upstream import distributions
from ascend_patches.upstream.versions import parse

Capability = tuple[str, str | None]
"""An op of torch_npu, and an argument that the op takes, or None for the op alone."""


class Installed(Value):
    """What is known of one installed package."""

    text: str | None
    version: Version | None
    source: str

    @classmethod
    def stated(cls, text: str | None, source: str) -> Installed:
        return cls(text, parse(text), source)

    def __str__(self) -> str:
        return self.text if self.text is not None else "unknown version"


class Environment:
    """What a gate may ask. This base class knows only what it was given; ``Here`` looks at this process."""

    def __init__(self, versions: Mapping[str, str | None]) -> None:
        """``versions`` maps a distribution to its version; absent ones are left out, None is an unknown version."""
        self._known = {
            distributions.normalised(name): Installed.stated(text, "as given") for name, text in versions.items()
        }

    def installed(self, name: str) -> Installed | None:
        """What is installed under that name, or None."""
        return self._known.get(distributions.normalised(name))

    def torch_npu_has(self, op: str, argument: str | None) -> bool | None:
        """Whether torch_npu has an op, and the op an argument; None when that cannot be known here."""
        return None

    def without_versions(self) -> Environment:
        """The same, as if every version that is there were unknown."""
        return _WithoutVersions(self)

    def supposing(self, capabilities: Mapping[Capability, bool]) -> Supposing:
        """The same, but where torch_npu cannot be asked, these are its answers."""
        return Supposing(self, capabilities)


class Supposing(Environment):
    """Surroundings with answers in place of a torch_npu that is not loaded; keeps what was asked in vain."""

    def __init__(self, inner: Environment, capabilities: Mapping[Capability, bool]) -> None:
        self._inner = inner
        self._capabilities = capabilities
        self.untold: set[Capability] = set()

    def installed(self, name: str) -> Installed | None:
        return self._inner.installed(name)

    def torch_npu_has(self, op: str, argument: str | None) -> bool | None:
        has = self._inner.torch_npu_has(op, argument)
        if has is None:
            has = self._capabilities.get((op, argument))
        if has is None:
            self.untold.add((op, argument))
        return has


class _WithoutVersions(Environment):
    def __init__(self, inner: Environment) -> None:
        self._inner = inner

    def installed(self, name: str) -> Installed | None:
        found = self._inner.installed(name)
        return found and found._replace(text=None, version=None)

    def torch_npu_has(self, op: str, argument: str | None) -> bool | None:
        return self._inner.torch_npu_has(op, argument)


class Here(Environment):
    """This interpreter's environment, read once per name without importing anything."""

    def __init__(self) -> None:
        super().__init__({})
        self._looked_up: dict[str, Installed | None] = {}

    def installed(self, name: str) -> Installed | None:
        name = distributions.normalised(name)
        override = os.environ.get("VLLM_VERSION") if name == "vllm" else None
        if override:
            return Installed.stated(override, "the VLLM_VERSION variable")
        if name not in self._looked_up:
            self._looked_up[name] = self._look_up(name)
        return self._looked_up[name]

    def _look_up(self, name: str) -> Installed | None:
        provider = distributions.provider(name.replace("-", "_"))
        if provider is not None:
            return Installed.stated(provider.version, provider.source)
        distribution = distributions.find(name)
        if distribution is not None:
            return Installed.stated(distribution.version, os.path.basename(distribution.metadata_path))
        return None

    def torch_npu_has(self, op: str, argument: str | None) -> bool | None:
        """Asks the torch_npu that is loaded. Importing it is the server's business and comes before its models."""
        torch_npu = sys.modules.get("torch_npu")
        if torch_npu is None:
            return None if self.installed("torch-npu") is not None else False
        if not hasattr(torch_npu, op):
            return False
        if argument is None:
            return True
        ops = getattr(sys.modules.get("torch"), "ops", None)
        for namespace in ("npu", "atb"):
            packet = getattr(getattr(ops, namespace, None), op, None)
            if packet is not None:
                overloads = (getattr(packet, overload) for overload in packet.overloads())
                return any(given.name == argument for overload in overloads for given in overload._schema.arguments)
        return None


here = Here()
