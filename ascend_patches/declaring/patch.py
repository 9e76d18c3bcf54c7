"""The declarations a patch is made of."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ascend_patches.basics.value import Value
from ascend_patches.declaring.gates import Gate, TorchNpuHas, torch_npu_answers
from ascend_patches.declaring.target import Target
from ascend_patches.declaring.tolerance import Tolerance
from ascend_patches.errors import DeclarationError
from ascend_patches.upstream.environment import Environment

OptionValue = bool | int | float | str
_BEYOND_64_BITS = 2**63  # what TOML promises; larger numbers cannot always be written down or made a float again
_TYPE_NAMES: dict[type | None, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
}

# The classes below are written out, and not made by dataclass, because every process that imports vLLM pays for that.


class Option:
    """Something a user may choose about a patch: any value of the default's type, or one of ``choices``.

    With ``choices``, ``or_any`` admits every other value of a type as well, such as a size beside "off". ``least`` is
    the smallest number that makes sense.
    """

    def __init__(
        self,
        default: OptionValue,
        meaning: str,
        choices: tuple[OptionValue, ...] = (),
        or_any: type[OptionValue] | None = None,
        least: float | None = None,
    ) -> None:
        self.least = least
        self.default = default
        self.meaning = meaning
        self.choices = choices
        self.or_any = or_any
        if type(default) not in _TYPE_NAMES or not self.admits(default):
            raise DeclarationError(f"the default of an option is {default!r}, but expected is {self.expected()}")

    def expected(self) -> str:
        """What a value has to be, for messages."""
        named = ", ".join(repr(choice) for choice in self.choices)
        open_type = _TYPE_NAMES.get(self._open_type, "")
        if self.least is not None and open_type:
            open_type += f" from {self.least:g} on"
        if not self.choices:
            return open_type
        return f"one of {named}" + (f" or {open_type}" if open_type else "")

    def admits(self, value: object) -> bool:
        if any(type(value) is type(choice) and value == choice for choice in self.choices):
            return True
        if type(value) is int and abs(value) >= _BEYOND_64_BITS:
            return False
        if self.least is not None and type(value) in (int, float) and not value >= self.least:  # type: ignore[operator]
            return False
        return type(value) is self._open_type or (self._open_type is float and type(value) is int)

    def read(self, value: Any) -> OptionValue:
        """An admitted value, as the option's type."""
        return float(value) if self._open_type is float and type(value) is int else value

    @property
    def _open_type(self) -> type | None:
        return self.or_any if self.choices else type(self.default)


class Rewrite:
    """A target together with what takes its place.

    ``replace`` is a function with the target's signature. ``around`` is advice, called as
    ``advice(wrapped, instance, args, kwargs)``. Either may be given as ``"module:name"``, which is imported only when
    the target is: a declaration must be cheap to read. ``original_as`` names a global of the replacement's module
    that holds the target's original while the patch is applied. ``fingerprints`` are those of targets that the
    replacement was verified against, beside what the lock says. ``rank_local`` says that the original talks to no
    other process, so that a shadow run may call it in one rank of several; ``compared`` is False where the
    replacement is meant to answer otherwise, so that shadow runs have nothing to say about it.
    """

    def __init__(
        self,
        target: str,
        replace: Callable[..., Any] | str | None = None,
        around: Callable[..., Any] | str | None = None,
        original_as: str | None = None,
        fingerprints: tuple[str, ...] = (),
        rank_local: bool = False,
        compared: bool = True,
    ) -> None:
        self.target = Target(target)
        if not self.target.is_well_formed:
            raise DeclarationError(f"target {target!r} is not of the form 'package.module:Class.attribute'")
        if (replace is None) == (around is None):
            raise DeclarationError(f"the rewrite of {target} needs exactly one of replace= and around=")
        if around is not None and original_as is not None:
            raise DeclarationError(f"the rewrite of {target}: advice is given the original, original_as= is not for it")
        if isinstance(fingerprints, str):
            raise DeclarationError(f"the rewrite of {target}: fingerprints= takes a tuple: ({fingerprints!r},)")
        self.module, self.path = self.target.module, self.target.path
        self.replace = replace
        self.around = around
        self.original_as = original_as
        self.fingerprints = fingerprints
        self.rank_local = rank_local
        self.compared = compared

    def __repr__(self) -> str:
        return f"<Rewrite of {self.target}>"

    @property
    def is_examined(self) -> bool:
        """Whether the code at the target has to be known before it is replaced."""
        return True

    @property
    def replacement_module(self) -> str | None:
        """The module that ``replace`` or ``around`` will be imported from; None if it was given as a function."""
        given = self.replace if self.replace is not None else self.around
        return given.partition(":")[0] if isinstance(given, str) else None

    def replacement(self) -> Any:
        """The function behind ``replace`` or ``around``, imported now if it was named."""
        given = self.replace if self.replace is not None else self.around
        if not isinstance(given, str):
            return given
        module, _, name = given.partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found


class Part(Value):
    """Rewrites that only make sense together, such as those for one model, and the functions that they count on.

    A part is put in place as a whole, as soon as all the modules that it names are imported, whether or not the
    other parts of its variant ever are. Parts may share a rewrite.
    """

    name: str
    rewrites: tuple[Rewrite, ...]
    relies_on: tuple[str, ...] = ()

    # Variants share parts, so that what follows from one is worked out once.
    @cached_property
    def examined(self) -> tuple[Target, ...]:
        """Everything whose code has to be known."""
        examined = (rewrite.target for rewrite in self.rewrites if rewrite.is_examined)
        return (*examined, *self.relied_on)

    @cached_property
    def relied_on(self) -> tuple[Target, ...]:
        """``relies_on`` as targets."""
        found = tuple(map(Target, self.relies_on))
        for target in found:
            if not target.is_well_formed:
                raise DeclarationError(f"part {self.name!r} relies on {target!r}, which is no 'package.module:name'")
        return found

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The modules whose code has to be known."""
        return tuple(dict.fromkeys(target.module for target in self.examined))


class Variant:
    """One implementation of a patch for one range of upstream releases.

    It is declared by its rewrites, which go in place together, or by several ``parts``, each of which does so by
    itself. ``relies_on`` names functions that are not replaced but that the replacements count on, such as the
    constructor of their class; the variant fits only where these are known code as well. ``known`` has fingerprints of
    theirs that the replacements were verified against, beside what the lock says.
    """

    def __init__(
        self,
        name: str,
        gate: Gate,
        rewrites: tuple[Rewrite, ...] = (),
        relies_on: tuple[str, ...] = (),
        *,
        parts: tuple[Part, ...] = (),
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.name = name
        self.gate = gate
        self.known: Mapping[str, tuple[str, ...]] = known or {}
        if not isinstance(gate, Gate):
            raise DeclarationError(
                f"variant {name!r} has {gate!r} for a gate; gates are combined with &, | and ~, "
                "because 'and', 'or' and 'not' would judge them while they are declared"
            )
        if parts and (rewrites or relies_on):
            raise DeclarationError(f"variant {name!r} has parts and, beside them, rewrites of its own")
        self.parts = tuple(parts) or (Part(name, tuple(rewrites), tuple(relies_on)),)
        self.rewrites = self._rewrites()
        self.relies_on = tuple(dict.fromkeys(target for part in self.parts for target in part.relied_on))
        """What its replacements count on and leave as it is."""

    def __repr__(self) -> str:
        return f"<Variant {self.name}: {self.gate}>"

    @property
    def targets(self) -> tuple[Target, ...]:
        """What it replaces."""
        return tuple(rewrite.target for rewrite in self.rewrites)

    @cached_property
    def examined(self) -> tuple[Target, ...]:
        """Everything whose code has to be known: the targets, and what the replacements rely on."""
        examined = (rewrite.target for rewrite in self.rewrites if rewrite.is_examined)
        return tuple(dict.fromkeys((*examined, *self.relies_on)))

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The modules whose code has to be known."""
        return tuple(dict.fromkeys(module for part in self.parts for module in part.modules))

    def parts_without(self, missing: Collection[str]) -> tuple[Part, ...]:
        """The parts that need none of some targets."""
        return tuple(part for part in self.parts if not any(target in missing for target in part.examined))

    def _refuse_shared_originals(self, rewrites: Iterable[Rewrite]) -> None:
        kept: dict[tuple[object, str], Rewrite] = {}
        for rewrite in rewrites:
            if rewrite.original_as is not None:
                home = rewrite.replacement_module or getattr(rewrite.replace, "__module__", None)
                first = kept.setdefault((home, rewrite.original_as), rewrite)
                if first is not rewrite:
                    raise DeclarationError(
                        f"variant {self.name!r} keeps the originals of {first.target} and {rewrite.target} as one name "
                        f"of one module, {rewrite.original_as!r}: both replacements would call the same original"
                    )

    def _rewrites(self) -> tuple[Rewrite, ...]:
        """The rewrites of all parts, each once."""
        by_target: dict[str, Rewrite] = {}
        for part in self.parts:
            if not part.rewrites:
                where = f", in its part {part.name!r}" if len(self.parts) > 1 else ""
                raise DeclarationError(f"variant {self.name!r} has no rewrites{where}")
            for rewrite in part.rewrites:
                if by_target.setdefault(rewrite.target, rewrite) is not rewrite:
                    raise DeclarationError(f"variant {self.name!r} rewrites a target twice: {rewrite.target}")
        self._refuse_shared_originals(by_target.values())
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            raise DeclarationError(f"variant {self.name!r} needs a name of its own for each part: {names}")
        return tuple(by_target.values())


class Exemption(Value):
    """Releases that need no variant of a patch, and why, in words that a report can quote.

    ``native`` says that they have the patch's idea themselves; ``targets`` then name the code that has it, whose
    fingerprints the lock keeps so that it is recognised under any version string; or ``fingerprints`` has them.
    """

    gate: Gate
    why: str
    native: bool = False
    targets: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = MappingProxyType({})


class Patch:
    """The unit a user switches on and off.

    ``configure`` is called with the options in force before the first rewrite is made. ``checks`` names, as
    ``"module:name"``, the cases by which the patch is verified; ``tolerance`` is how far from the original's results
    the patch's may be while it serves.
    """

    def __init__(
        self,
        name: str,
        summary: str,
        variants: tuple[Variant, ...],
        exemptions: tuple[Exemption, ...] = (),
        why: str = "",
        upstream: tuple[str, ...] = (),
        retire: str = "",
        default: bool = True,
        options: Mapping[str, Option] | None = None,
        configure: Callable[[Mapping[str, OptionValue]], None] | None = None,
        checks: str = "",
        tolerance: Tolerance | None = None,
    ) -> None:
        self.name = name
        self.summary = summary
        self.variants = variants
        self.exemptions = exemptions
        self.why = why
        self.upstream = upstream
        self.retire = retire
        self.default = default
        self.options: Mapping[str, Option] = options or {}
        self.configure = configure
        self.checks = checks
        self.tolerance = tolerance if tolerance is not None else Tolerance()
        self._refuse_what_cannot_work()

    def __repr__(self) -> str:
        return f"<Patch {self.name}>"

    def _refuse_what_cannot_work(self) -> None:
        if not _is_lower_case_words(self.name) or self.name == "all":
            raise DeclarationError(f"patch name {self.name!r} is not lower-case words joined by '-', or is 'all'")
        if not self.summary.strip() or "\n" in self.summary:
            raise DeclarationError(f"patch {self.name!r} needs a summary of one line")
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) != len(names):
            raise DeclarationError(f"patch {self.name!r} needs variants, each with a name of its own: {names}")
        reserved = {"enabled", "override", "unknown", "shadow", "quarantine"} & set(self.options)
        if reserved:
            raise DeclarationError(f"patch {self.name!r}: {sorted(reserved)} cannot be the name of an option")
        for option in self.options:
            if not _is_lower_case_words(option.replace("_", "-")):
                raise DeclarationError(f"patch {self.name!r}: option {option!r} is not lower-case words joined by '_'")

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Every module whose code any variant has to know."""
        return tuple(dict.fromkeys(module for variant in self.variants for module in variant.modules))

    @cached_property
    def replacement_modules(self) -> tuple[str, ...]:
        """Every module that a replacement of any variant will be imported from."""
        named = (rewrite.replacement_module for variant in self.variants for rewrite in variant.rewrites)
        return tuple(dict.fromkeys(module for module in named if module is not None))

    @cached_property
    def watched(self) -> tuple[str, ...]:
        """Every module whose import may settle something about it."""
        native = [Target(target).module for exemption in self.exemptions for target in exemption.targets]
        asks = any(isinstance(leaf, TorchNpuHas) for variant in self.variants for leaf in variant.gate.leaves())
        return tuple(dict.fromkeys((*self.modules, *native, *(["torch_npu"] if asks else []))))

    def proposed(self, where: Environment) -> list[Variant]:
        """The variants whose gates hold; more than one is a mistake in the declaration."""
        return [variant for variant in self.variants if variant.gate.judge(where).holds is True]

    def exemption(self, where: Environment) -> Exemption | None:
        """Why there is nothing to do there, if an exemption says so."""
        return next((each for each in self.exemptions if each.gate.judge(where).holds is True), None)

    def ambiguous(self, where: Environment) -> list[Variant]:
        """The variants that could all be chosen there, whatever torch_npu can do, if that is more than one."""
        gates = [variant.gate for variant in self.variants]
        for possible in torch_npu_answers(gates, where):
            fitting = [variant for variant in self.variants if variant.gate.judge(possible).holds is not False]
            if len(fitting) > 1:
                return fitting
        return []


def _is_lower_case_words(name: str) -> bool:
    return all(word.isascii() and word.isalnum() and word == word.lower() for word in name.split("-"))
