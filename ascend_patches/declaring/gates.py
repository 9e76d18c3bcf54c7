"""Gates: what decides whether a variant fits, as data that can be judged, combined and read aloud.

    vllm_version_is("0.15.0")
    version_in("vllm", ">=0.15,<0.18") & absent("vllm-ascend")
    version_in("vllm-ascend", ">=0.13") & ~torch_npu_has("npu_rotary_mul", argument="rotate")

Gates are combined with ``&``, ``|`` and ``~``. A gate is also true or false by itself, judged where it runs, so that
``if vllm_version_is("0.15.0"):`` inside a patch reads as it does in vllm-ascend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from ascend_patches.basics.value import Value
from ascend_patches.upstream.environment import Environment, here
from ascend_patches.upstream.versions import Range, parse_range


class Verdict(Value):
    """Whether a gate holds (None: unknown), and why."""

    holds: bool | None
    why: str


class Gate:
    """A condition on the surroundings."""

    def judge(self, where: Environment) -> Verdict:
        raise NotImplementedError

    def leaves(self) -> Iterator[Gate]:
        """The conditions that it is put together from."""
        yield self

    def could_hold(self, where: Environment) -> bool:
        """Whether it might hold if the versions were other than they say."""
        return self.judge(where.without_versions()).holds is not False

    def needs_torch_npu(self, where: Environment) -> bool:
        """Whether a torch_npu that is not loaded yet could still rule out what some versions would allow."""
        return self.could_hold(where) and not all(map(self.could_hold, torch_npu_answers([self], where)))

    def __and__(self, other: Gate) -> Gate:
        return AllOf((*_parts(self, AllOf), *_parts(other, AllOf)))

    def __or__(self, other: Gate) -> Gate:
        return AnyOf((*_parts(self, AnyOf), *_parts(other, AnyOf)))

    def __invert__(self) -> Gate:
        return Not(self)

    def __bool__(self) -> bool:
        return self.judge(here).holds is True

    def __str__(self) -> str:
        raise NotImplementedError


class Always(Gate):
    def judge(self, where: Environment) -> Verdict:
        return Verdict(True, "on every release")

    def __str__(self) -> str:
        return "always"


class VersionIn(Gate):
    """The version of a package lies in a range."""

    def __init__(self, package: str, range_: Range) -> None:
        self.package = package
        self.range = range_

    def judge(self, where: Environment) -> Verdict:
        found = where.installed(self.package)
        if found is None:
            return Verdict(False, f"{self.package} is not installed")
        if found.version is None:
            said = f"says {found.text!r}" if found.text else "does not say its version"
            return Verdict(None, f"{self.package} {said} ({found.source})")
        if self.range.admits(found.version):
            return Verdict(True, f"{self.package} is {found}")
        return Verdict(False, f"{self.package} is {found}, not {self.range}")

    def __str__(self) -> str:
        return f"{self.package} {self.range}"


class Present(Gate):
    """A package is installed, whatever its version."""

    def __init__(self, package: str) -> None:
        self.package = package

    def judge(self, where: Environment) -> Verdict:
        found = where.installed(self.package)
        if found is None:
            return Verdict(False, f"{self.package} is not installed")
        return Verdict(True, f"{self.package} is installed")

    def __str__(self) -> str:
        return f"{self.package} installed"


class TorchNpuHas(Gate):
    """torch_npu has an op, and the op an argument."""

    def __init__(self, op: str, argument: str | None) -> None:
        self.op = op
        self.argument = argument

    def judge(self, where: Environment) -> Verdict:
        has = where.torch_npu_has(self.op, self.argument)
        if has is None:
            return Verdict(None, f"only a torch_npu that is loaded can tell whether {self}")
        return Verdict(has, str(self) if has else f"not {self}")

    def __str__(self) -> str:
        with_argument = f" with argument {self.argument!r}" if self.argument else ""
        return f"torch_npu has {self.op}{with_argument}"


class Combined(Gate):
    """Several gates, of which one may decide for all."""

    decisive: bool
    """The verdict of any one of them that is the verdict of the whole."""

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        self.gates = gates

    def leaves(self) -> Iterator[Gate]:
        for gate in self.gates:
            yield from gate.leaves()

    def judge(self, where: Environment) -> Verdict:
        verdicts = [gate.judge(where) for gate in self.gates]
        for holds in (self.decisive, None, not self.decisive):
            because = [verdict.why for verdict in verdicts if verdict.holds is holds]
            if because:
                break
        return Verdict(holds, "; ".join(dict.fromkeys(because)))


class AllOf(Combined):
    decisive = False

    def __str__(self) -> str:
        return " and ".join(f"({gate})" if isinstance(gate, AnyOf) else str(gate) for gate in self.gates)


class AnyOf(Combined):
    decisive = True

    def __str__(self) -> str:
        return " or ".join(map(str, self.gates))


class Not(Gate):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def leaves(self) -> Iterator[Gate]:
        yield from self.gate.leaves()

    def judge(self, where: Environment) -> Verdict:
        holds, why = self.gate.judge(where)
        return Verdict(None if holds is None else not holds, why)

    def __invert__(self) -> Gate:
        return self.gate

    def __str__(self) -> str:
        if isinstance(self.gate, Present):
            return f"{self.gate.package} not installed"
        return f"not ({self.gate})"


def torch_npu_answers(gates: Iterable[Gate], where: Environment) -> Iterator[Environment]:
    """The surroundings with each set of answers that torch_npu could give to what gates ask of it in vain."""
    asking = where.supposing({})
    for gate in gates:
        gate.judge(asking)
    asked = sorted(asking.untold, key=repr)
    for answers in product((True, False), repeat=len(asked)):
        yield where.supposing(dict(zip(asked, answers, strict=True)))


def _parts(gate: Gate, kind: type[AllOf] | type[AnyOf]) -> tuple[Gate, ...]:
    return gate.gates if isinstance(gate, kind) else (gate,)


def vllm_version_is(version: str) -> Gate:
    """vLLM is that release, whatever its build; ``upstream.versions`` says what counts as the same."""
    return version_in("vllm", f"=={version}")


def version_in(package: str, versions: str) -> Gate:
    """The version of a distribution lies in a range such as ``>=0.15,<0.18``."""
    return VersionIn(package, parse_range(versions))


def installed(package: str) -> Gate:
    """A distribution is there, whatever its version."""
    return Present(package)


def absent(package: str) -> Gate:
    """A distribution is not there."""
    return Not(Present(package))


def torch_npu_has(op: str, *, argument: str | None = None) -> Gate:
    """The loaded torch_npu has an op, and the op an argument."""
    return TorchNpuHas(op, argument)


always: Gate = Always()
