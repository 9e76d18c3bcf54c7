"""``python -m emulated_npu``: prints a self-check of the emulated NPU in this environment."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from emulated_npu._errors import EmulatedNpuError

_GREEN, _RED, _PLAIN = "\033[32m", "\033[31m", "\033[0m"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the self-check; 0 if everything holds, 1 if something does not, 2 if it was called wrongly."""
    options = _parser().parse_args(arguments)
    try:
        release = _install(options.torch_npu)
    except (ImportError, EmulatedNpuError, ValueError) as error:
        # No torch, the wrong torch, a real torch_npu, an unknown release: the message says what to do.
        print(f"the emulated NPU does not work here: {error}", file=sys.stderr)
        return 1
    report = _report(release, options.layers)
    print(json.dumps(report, indent=2) if options.json else _text(report))
    return 0 if report["holds"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m emulated_npu", description=__doc__)
    parser.add_argument("--torch-npu", metavar="RELEASE", help="the torch_npu release to emulate (default: the newest)")
    parser.add_argument("--layers", type=_positive, default=27, help="layers of the attention stack (default: 27)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _install(release: str | None) -> str:
    from emulated_npu import _schemas, install

    chosen = release or _schemas.NEWEST
    install(torch_npu=chosen)
    return chosen


def _report(release: str, layers: int) -> dict[str, Any]:
    from emulated_npu import _schemas, _self_check

    checks, counts = _self_check.self_check(release, layers)
    return {
        "holds": all(check.holds for check in checks),
        "torch_npu": release,
        "ops_by_release": {known: len(_schemas.schemas(known)) for known in _schemas.RELEASES},
        "checks": [asdict(check) for check in checks],
        "layers": layers,
        "counts": counts,
    }


def _text(report: dict[str, Any]) -> str:
    width = max(len(check["name"]) for check in report["checks"])
    lines = [f"{_verdict(check['holds'])}  {check['name']:<{width}}  {check['detail']}" for check in report["checks"]]
    releases = ", ".join(f"{release} ({ops})" for release, ops in report["ops_by_release"].items())
    failed = sum(not check["holds"] for check in report["checks"])
    verdict = f"{failed} of {len(lines)} checks failed" if failed else f"all {len(lines)} checks hold"
    return "\n".join([*lines, f"torch_npu releases with known ops: {releases}", verdict])


def _verdict(holds: bool) -> str:
    word = "ok    " if holds else "FAILED"
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return word
    return f"{_GREEN if holds else _RED}{word}{_PLAIN}"


if __name__ == "__main__":
    sys.exit(main())
