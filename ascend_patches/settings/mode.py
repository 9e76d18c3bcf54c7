"""The mode that the environment asks for. Imports only os: it is asked before anything of the toolkit is needed."""

import os

VARIABLE = "ASCEND_PATCHES"


def asked_for() -> str:
    """What the variable says, as it was meant; empty where it is not set. Whether it is a mode is not judged here."""
    return os.environ.get(VARIABLE, "").strip().lower()
