"""init: a patches.toml to start from, and the schema beside it that editors check it with."""

from __future__ import annotations

import argparse
import json
import os
import sys

from ascend_patches import catalogue
from ascend_patches.errors import AscendPatchesError
from ascend_patches.settings import reader, schema, template


def init(arguments: argparse.Namespace) -> int:
    patches = catalogue.known().patches.values()
    text = template.settings_file(patches)
    if arguments.file == "-":
        sys.stdout.write(text)
        return 0
    file = os.path.abspath(os.path.expanduser(arguments.file))
    if os.path.lexists(file) and not os.path.isdir(file) and not arguments.force:
        raise AscendPatchesError(f"{arguments.file} is there already; it is left alone (--force overwrites)")
    if os.path.isdir(file):
        raise AscendPatchesError(f"{arguments.file} is a folder; name a file, such as {arguments.file}/patches.toml")
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w" if arguments.force else "x", encoding="utf-8") as stream:
            stream.write(text)
        beside = os.path.join(os.path.dirname(file), schema.FILE)
        with open(beside, "w", encoding="utf-8") as stream:
            json.dump(schema.settings_schema(patches), stream, indent=1)
            stream.write("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AscendPatchesError(f"{arguments.file}: cannot be written: {reason}") from None
    print(f"{arguments.file} written, and {schema.FILE} beside it for editors")
    if file == reader.environment_wide() or file == reader.MACHINE_WIDE:
        print("it is where this environment looks: nothing else is to be done")
    else:
        print(f"use it with ASCEND_PATCHES_CONFIG={file}")
        print(f"or put it where this environment looks: {reader.environment_wide()}")
    return 0
