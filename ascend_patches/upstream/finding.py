"""What is known of the code of one target, whether the code was imported or only read."""

from __future__ import annotations

from typing import Literal

from ascend_patches.basics.value import Value


class Finding(Value):
    """What is known of a target's code."""

    kind: Literal["code", "pending", "absent", "wrapped", "no source"]
    text: str = ""
    """Its fingerprint where there is code, else what is the matter."""
