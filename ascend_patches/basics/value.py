"""Values with named fields, made so quickly that every process can afford two dozen of them at its start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["Value"]

if TYPE_CHECKING:
    from typing import NamedTuple as Value
else:

    class Value(tuple):
        """What ``typing.NamedTuple`` is, as far as it is used here, for a thirtieth of the time.

        That one compiles a constructor, and each annotation once more: a quarter of all that activation takes.
        """

        def __init_subclass__(cls) -> None:
            own = vars(cls)
            cls._fields = tuple(own["__annotations__"])
            cls._defaults = {name: own[name] for name in cls._fields if name in own}
            for place, name in enumerate(cls._fields):
                setattr(cls, name, property(cls._reader(place)))

        @staticmethod
        def _reader(place: int) -> Callable[[Value], Any]:
            # A plain function, which torch.compile can read: it meets values of the toolkit in a patched call.
            return lambda value: tuple.__getitem__(value, place)

        def __new__(cls, *given: Any, **named: Any) -> Value:
            if not named and len(given) == len(cls._fields):
                return tuple.__new__(cls, given)
            missing = cls._fields[len(given) :]
            try:
                rest = [named.pop(name) if name in named else cls._defaults[name] for name in missing]
            except KeyError as error:
                raise TypeError(f"{cls.__name__} needs {error}") from None
            if named or len(given) > len(cls._fields):
                extra = ", ".join(named) or f"{len(given)} values"
                raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}, and was given {extra}")
            return tuple.__new__(cls, (*given, *rest))

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            fields = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({', '.join(fields)})"

        def _replace(self, **named: Any) -> Value:
            return type(self)(**dict(zip(self._fields, self, strict=True)) | named)
