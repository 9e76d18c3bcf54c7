"""A rewrite made of upstream's own code, which stands in a file of the patch and runs in upstream's module."""

from __future__ import annotations

from typing import Any, Literal

from ascend_patches.declaring.patch import Patch, Rewrite
from ascend_patches.errors import DeclarationError

Kind = Literal["function", "added", "value", "alias", "module", "bases", "fields"]


class Carried(Rewrite):
    """A target and the file that holds its definition under the same path.

    ``function`` replaces a function by the one in the file. ``added`` puts a name in place that the release lacks: a
    function, a class, a value, or what an import binds. ``value`` replaces a value or an import; ``was`` is the
    statement that the release has. ``alias`` sets a target to what ``value`` names in ``home``, as upstream's module
    does when it runs. ``module`` puts a module into a package that lacks it: ``home`` is its name, the target what the
    package has for it, and the file its whole text. ``bases`` gives a class, whose ``__bases__`` is the target, those
    of ``value`` in place of those of ``was``. ``fields`` gives a dataclass the fields of ``value`` besides those of
    ``was``; the target is its ``__dataclass_fields__``. ``home`` is otherwise the module in whose namespace the code
    runs, if that is not the target's own.
    """

    def __init__(
        self,
        target: str,
        file: str,
        kind: Kind = "function",
        fingerprints: tuple[str, ...] = (),
        *,
        was: str = "",
        value: str = "",
        home: str = "",
        code: str = "",
    ) -> None:
        super().__init__(target, replace=_made_when_applied, fingerprints=fingerprints, compared=False)
        if kind == "alias" and not (value and home):
            raise DeclarationError(f"the carried alias {target} needs value= and home=")
        if kind == "module" and not home:
            raise DeclarationError(f"the carried module {target} needs home=, its name")
        if kind == "function" and not fingerprints:
            raise DeclarationError(f"the carried function {target} needs the fingerprints of what it replaces")
        self.file = file
        self.kind: Kind = kind
        self.was = was
        self.value = value
        self.home = home or self.module
        self.code = code
        """The fingerprint of the code that is put in place."""

    @property
    def is_examined(self) -> bool:
        """Whether the release's code at the target has to be known; what is added is not there."""
        return self.kind == "function" or bool(self.fingerprints)


def is_carried(patch: Patch) -> bool:
    """Whether a patch was made of an upstream change by ``ascend-patches carry``."""
    return any(isinstance(rewrite, Carried) for variant in patch.variants for rewrite in variant.rewrites)


def _made_when_applied(*arguments: Any, **keywords: Any) -> Any:
    """Stand where a replacement is expected before upstream's module is there to make it in."""
    raise AssertionError("carried code is made in upstream's module, when it is applied")
