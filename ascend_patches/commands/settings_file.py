"""init: a patches.toml to start from."""

from __future__ import annotations

import argparse
import os
import sys

from ascend_patches.declaring import patch as registry
from ascend_patches.errors import AscendPatchesError
from ascend_patches.settings import reader as settings
from ascend_patches.settings import template


def init(arguments: argparse.Namespace) -> int:
    text = template.settings_file(registry.known().patches.values())
    if arguments.file == "-":
        sys.stdout.write(text)
        return 0
    try:
        with open(arguments.file, "w" if arguments.force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise AscendPatchesError(f"{arguments.file} is there already; it is left alone (--force overwrites)") from None
    except OSError as error:
        raise AscendPatchesError(f"{arguments.file}: cannot be written: {error.strerror or error}") from None
    print(f"{arguments.file} written; use it with ASCEND_PATCHES_CONFIG={os.path.abspath(arguments.file)}")
    print(f"or put it where this environment looks: {settings.environment_wide()}")
    return 0
