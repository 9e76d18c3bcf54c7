"""The multimodal encoders of a release, read from its sources: which classes tell an attention of their sequences.

An encoder is the class that runs the layers one after the other. It is found from below: a class that gives
``cu_seqlens`` to its ``MMEncoderAttention``, the classes that hold this one, and among them those that loop over their
layers. A subclass counts for itself: what runs is the method that it has, its own or an inherited one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.sources import Sources

PACKAGES = ("vllm.model_executor.models", "vllm.models", "vllm_ascend.models")
_ATTENTION = "MMEncoderAttention"
_BOUNDARIES, _LENGTHS = "cu_seqlens", "sequence_lengths"
_TOLD = re.compile("seqlens|mask_meta|metadata")
"""What models call the arguments that tell a layer about sequences."""
_OF_MODELS = ("forward", "encode_image", "_process_image_input", "_process_video_input", "_process_audio_input")
"""The methods through which a model reaches its encoder."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Name(NamedTuple):
    """A class, by where it is written."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


class Definition(NamedTuple):
    """A function, by where it is written."""

    module: str
    line: int


class Encoder(NamedTuple):
    """A class that runs layers."""

    stack: Name
    methods: tuple[str, ...]
    """The methods in which it does so."""
    holders: tuple[Name, ...]
    """The classes through which models reach it, nearest first."""
    ways: tuple[tuple[frozenset[Definition], ...], ...]
    """For each of its methods and each model that calls it, the functions that are around all of its layers."""
    brings_lengths: bool
    """Whether its attention is given the lengths beside the boundaries, so that these need not be looked at."""

    @property
    def models(self) -> tuple[str, ...]:
        """The modules that use it, without the packages that all of them are in."""
        return tuple(sorted({_short(each.module) for each in (self.stack, *self.holders)}))

    def covered_by(self, opening: Collection[Definition]) -> bool:
        """Whether every way to its layers leads through one of these functions."""
        return all(way & set(opening) for ways in self.ways for way in ways)


class Inventory(NamedTuple):
    """What a release has."""

    encoders: tuple[Encoder, ...]
    untold: tuple[Name, ...]
    """The classes whose attention is given no sequences: it has nothing to ask the device for."""


def inventory(code: Sources) -> Inventory:
    """The encoders of a release, in the order of their names."""
    classes = _Classes(code)
    attending = classes.attending()
    given = [each for each in attending if classes.gives(each, _BOUNDARIES)]
    held_by = classes.held_by(given)
    looping = {each: classes.looping(each) for each in held_by}
    below = {held for each, methods in looping.items() if methods for held in classes.below(each, held_by)}
    # Without a loop that is seen, the attention stands for its encoder: nothing may drop out unseen.
    alone = {each: ("forward",) for each in given if each not in below}
    found = {each: methods for each, methods in looping.items() if methods} | alone
    encoders = [
        Encoder(
            each,
            methods,
            classes.above(each, held_by),
            tuple(tuple(classes.ways(each, method, held_by)) for method in methods),
            all(classes.gives(one, _LENGTHS) for one in classes.below(each, held_by) if one in given),
        )
        for each, methods in sorted(found.items())
    ]
    return Inventory(tuple(encoders), tuple(sorted(set(attending) - set(given))))


def _short(module: str) -> str:
    return next((module.removeprefix(f"{each}.") for each in PACKAGES if module.startswith(f"{each}.")), module)


class _Class(NamedTuple):
    """A class as it is written."""

    bases: tuple[Name, ...]
    methods: dict[str, _Function]
    mentioned: frozenset[Name]
    """The classes that its own code refers to."""
    made: frozenset[tuple[str, str]]
    """The attributes that its own code makes by calling something, with the name of that."""
    based_on: tuple[str, ...]
    """The names of its bases as they are written."""


class _Classes:
    """The classes of a release's models, read as far as they are asked for."""

    def __init__(self, code: Sources) -> None:
        self._code = code
        self._texts = {module: text for module in code.modules(PACKAGES) if (text := code.read(module)) is not None}
        self._modules: dict[str, dict[str, _Class]] = {}
        self._lines: dict[Name, tuple[Name, ...]] = {}
        self._mentions: dict[Name, frozenset[Name]] = {}
        self._attentions = {_ATTENTION}
        """The names of that class and of those that are based on it."""

    def attending(self) -> list[Name]:
        """Every class that has an encoder attention, made by itself or by a base."""
        for module, text in self._texts.items():
            if _ATTENTION in text:
                self._read(module)
        more = True
        while more:
            everything = [Name(module, name) for module, classes in self._modules.items() for name in classes]
            based = [each for each in everything if self._attentions & set(self._class(each).based_on)]
            self._attentions |= {each.name for each in based}
            more = self._read_where([*based, *(each for each in everything if self.attention_of(each))])
        return [each for each in everything if self.attention_of(each)]

    def attention_of(self, name: Name) -> set[str]:
        """The attributes that hold an encoder attention."""
        # Of the bases too where they are overridden: constructors call their base's.
        made = (pair for each in self._line(name) for pair in self._class(each).made)
        return {attribute for attribute, called in made if called in self._attentions}

    def gives(self, name: Name, argument: str) -> bool:
        """Whether the class gives its attention an argument."""
        attention = self.attention_of(name)
        return any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in attention
            and _gives(node, argument)
            for method, function in self._methods(name).items()
            if method != "__init__"
            for node in ast.walk(function)
        )

    def held_by(self, names: Iterable[Name]) -> dict[Name, set[Name]]:
        """Every class that holds one of these, directly or not, with what it holds of them."""
        held: dict[Name, set[Name]] = {each: set() for each in names}
        rising = set(held)
        while rising:
            self._read_where(rising)
            found = {Name(module, name) for module, classes in list(self._modules.items()) for name in classes}
            holding = {each: self._mentioned(each) & held.keys() - {each} for each in found}
            rising = {each for each, holds in holding.items() if holds and each not in held}
            for each, holds in holding.items():
                if holds:
                    held.setdefault(each, set()).update(holds)
        return held

    def above(self, name: Name, held_by: dict[Name, set[Name]]) -> tuple[Name, ...]:
        found: dict[Name, None] = {}
        rising = [name]
        while rising:
            rising = [each for each, holds in held_by.items() if holds & set(rising) and each not in found]
            found |= dict.fromkeys(rising)
        return tuple(found)

    def ways(self, name: Name, method: str, held_by: dict[Name, set[Name]]) -> Iterator[frozenset[Definition]]:
        """For each outermost class the functions that a call of it goes through before it reaches this method."""
        inner = frozenset(self._definitions(name, method))
        outer = [each for each, holds in held_by.items() if name in holds]
        if not outer:
            yield inner
        for each in outer:
            for own in _OF_MODELS:
                if own in self._methods(each) or own == "forward":
                    yield from (inner | way for way in self.ways(each, own, held_by))
                    break

    def _definitions(self, name: Name, method: str) -> Iterator[Definition]:
        """The function that an object has under a name, and those of its bases that this calls."""
        for each in self._line(name):
            function = self._class(each).methods.get(method)
            if function is not None:
                yield Definition(each.module, function.lineno)
                if not _calls_base(function, method):
                    return

    def below(self, name: Name, held_by: dict[Name, set[Name]]) -> set[Name]:
        found: set[Name] = set()
        falling = {name}
        while falling:
            found |= falling
            falling = {held for each in falling for held in held_by.get(each, ())} - found
        return found

    def looping(self, name: Name) -> tuple[str, ...]:
        """The methods that loop over layers of the object and tell them about sequences."""
        return tuple(sorted(method for method, function in self._methods(name).items() if _loops(function)))

    def _read_where(self, names: Iterable[Name]) -> bool:
        """Read the modules that import one of the classes; whether there was one that had not been read."""
        by_module: dict[str, set[str]] = {}
        for each in names:
            by_module.setdefault(each.module.rpartition(".")[2], set()).add(each.name)
        fresh = [
            module
            for module, text in self._texts.items()
            if module not in self._modules
            and any(origin in text and any(name in text for name in found) for origin, found in by_module.items())
        ]
        for module in fresh:
            self._read(module)
        return bool(fresh)

    def _mentioned(self, name: Name) -> frozenset[Name]:
        if name not in self._mentions:
            self._mentions[name] = frozenset(each for one in self._line(name) for each in self._class(one).mentioned)
        return self._mentions[name]

    def _methods(self, name: Name) -> dict[str, _Function]:
        """The methods that an object of the class has."""
        found: dict[str, _Function] = {}
        for each in self._line(name):
            found = self._class(each).methods | found
        return found

    def _line(self, name: Name) -> tuple[Name, ...]:
        """The class and its bases, as far as they are written down, nearest first."""
        if name not in self._lines:
            seen, waiting = dict[Name, None](), [name]
            while waiting:
                each = waiting.pop(0)
                if each not in seen and each.name in self._read(each.module):
                    seen[each] = None
                    waiting = [*self._class(each).bases, *waiting]
            self._lines[name] = tuple(seen)
        return self._lines[name]

    def _class(self, name: Name) -> _Class:
        return self._modules[name.module][name.name]

    def _read(self, module: str) -> dict[str, _Class]:
        if module not in self._modules:
            self._modules[module] = {}
            tree = self._code.tree(module)
            nodes = fingerprints.statements(tree.body if tree is not None else [])
            classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
            here = {name: Name(*origin) for name, origin in self._code.imported(module).items()}
            here |= {node.name: Name(module, node.name) for node in classes}
            self._modules[module] = {node.name: _class_of(node, here) for node in classes}
        return self._modules[module]


def _class_of(node: ast.ClassDef, here: dict[str, Name]) -> _Class:
    names, made = set[str](), set[tuple[str, str]]()
    for each in (each for statement in node.body for each in ast.walk(statement)):
        if isinstance(each, ast.Name):
            names.add(each.id)
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Call):
            made |= {(one.attr, _last(each.value.func)) for one in each.targets if isinstance(one, ast.Attribute)}
    return _Class(
        tuple(here[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in here),
        {each.name: each for each in node.body if isinstance(each, _Function)},
        frozenset(here[name] for name in names if name in here),
        frozenset(made),
        tuple(map(_last, node.bases)),
    )


def _calls_base(function: _Function, method: str) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == method
        and isinstance(node.value, ast.Call)
        and _last(node.value.func) == "super"
        for node in ast.walk(function)
    )


def _last(node: ast.expr) -> str:
    """The last name of a dotted one."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _gives(call: ast.Call, argument: str) -> bool:
    """Whether a call passes something on: by keyword or, the boundaries, as the fourth argument."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == argument), None)
    if given is None and argument == _BOUNDARIES and len(call.args) > 3:
        given = call.args[3]
    return given is not None and not (isinstance(given, ast.Constant) and given.value is None)


def _loops(function: _Function) -> bool:
    for loop in ast.walk(function):
        if isinstance(loop, ast.For) and _of_the_object(loop.iter):
            layers = {each.id for each in ast.walk(loop.target) if isinstance(each, ast.Name)}
            for node in (each for statement in loop.body for each in ast.walk(statement)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in layers:
                    return any(_TOLD.search(name) for name in _names_in(node))
    return False


def _of_the_object(iterated: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        for node in ast.walk(iterated)
    )


def _names_in(call: ast.Call) -> Iterator[str]:
    for node in ast.walk(call):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg
