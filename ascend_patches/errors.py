"""Every error the toolkit raises, each a sentence for the person who reads it."""

from __future__ import annotations


class AscendPatchesError(Exception):
    """Base of every error this package raises on purpose."""


class UsageError(AscendPatchesError):
    """A command line asks for something that makes no sense; the command ends with 2."""


class DeclarationError(AscendPatchesError):
    """A patch, variant, rewrite, option or gate is declared in a way that cannot work."""


class SettingsError(AscendPatchesError):
    """The settings, in a file or in the environment, hold one or more mistakes.

    ``strict`` says whether what could be understood of them asks for strict mode.
    """

    SHOWN = 50

    def __init__(self, mistakes: list[str], strict: bool = False) -> None:
        more = [f"... and {len(mistakes) - self.SHOWN} mistakes more"] if len(mistakes) > self.SHOWN else []
        super().__init__("\n".join([*mistakes[: self.SHOWN], *more]))
        self.mistakes = mistakes
        self.strict = strict

    def __reduce__(self) -> tuple[type[SettingsError], tuple[list[str], bool]]:
        return type(self), (self.mistakes, self.strict)


class VersionError(AscendPatchesError, ValueError):
    """A version or a range of versions cannot be read."""


class TargetError(AscendPatchesError):
    """A target cannot be found, or its replacement does not fit it."""


class LockError(AscendPatchesError):
    """The lock file cannot be used."""


class StrictModeError(AscendPatchesError, RuntimeError):
    """Strict mode is on and something would have been left unpatched.

    Deliberately no ImportError: it is raised out of ``import vllm``, and code that treats vLLM as optional must not
    take it for an absent package.
    """


class InstallError(AscendPatchesError):
    """The start hook cannot be installed or removed."""


class CarryError(AscendPatchesError):
    """An upstream change, or the clone or file that it is read from, cannot be used."""
