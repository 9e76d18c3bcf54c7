"""Runs ascend-patches in a process that sees one release, and prints its exit code and what it said as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import sys

from ascend_patches.commands.command_line import main

with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
    code = main(sys.argv[1:])
print(json.dumps({"code": code, "output": output.getvalue(), "errors": errors.getvalue()}))
