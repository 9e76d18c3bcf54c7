"""The command: what each of its parts prints, in words and as JSON, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from support import Environment, World, clean_environ

COMMANDS = (
    "install",
    "uninstall",
    "run",
    "status",
    "list",
    "explain",
    "doctor",
    "check",
    "init",
    "diff",
    "fingerprint",
    "compare",
    "verify",
    "completion",
    "report",
    "carry",
    "bench",
)


THEIRS = "greeting-module (entry point entry = greeting_module:PATCHES)"


@pytest.fixture
def changed(greeting: World) -> World:
    """The world of the greeting, whose upstream code has changed since it was verified."""
    greeting.write("vllm/engine.py", "def greet(name, mark='!'):\n    return 'rewritten'\n")
    return greeting


# The command line


def test_every_command_has_a_help_text_with_the_exit_codes(world: World) -> None:
    code = (
        "from ascend_patches.commands.command_line import main\n"
        f"for name in {(*COMMANDS, '')!r}:\n"
        "    try:\n        main([*filter(None, [name]), '--help'])\n    except SystemExit as end:\n"
        "        assert end.code in (0, None)\n"
        "    print('=' * 9)\n"
    )
    texts = world.python(code).stdout.split("=" * 9)
    assert len(texts) == len(COMMANDS) + 2
    for text in texts[:-1]:
        assert "exit codes: 0 fine; 1 a patch failed, strict mode would stop" in text


@pytest.mark.parametrize("character", ["\0", "\ud800"], ids=["null byte", "lone surrogate"])
@pytest.mark.parametrize("command", ["carry", "explain", "check", "init", "bench --model"])
def test_a_character_that_no_path_has_is_a_mistake_of_usage(command: str, character: str, world: World) -> None:
    code = (
        "from ascend_patches.commands.command_line import main\n"
        f"print(json.dumps(main({[*command.split(), 'a' + character]!r})))"
    )
    result = world.python(code)
    assert result.json == 2
    assert "ascend-patches: " in result.stderr


def test_the_documented_commands_are_all_there_are(world: World) -> None:
    usage = world.command().stderr
    assert world.command("no-such-command").returncode == 2
    assert "COMMAND" in usage
    listed = world.command("--help").stdout
    assert [name for name in COMMANDS if f"\n    {name}" not in listed] == []


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["explain"], ["run"], ["run", "--"], ["status", "--nonsense"], ["list", "extra"]]
)
def test_a_wrong_command_line_is_two(arguments: list[str], world: World) -> None:
    result = world.command(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr


def test_asking_for_help_imports_no_command_and_no_library_for_output(world: World) -> None:
    code = (
        "from ascend_patches.commands.command_line import parser\n"
        "parser()\n"
        "print(json.dumps([n for n in sys.modules if n.startswith(('ascend_patches.commands.', 'rich', 'wrapt'))]))"
    )
    assert world.python(code).json == ["ascend_patches.commands.command_line"]


# list, explain


def test_list_shows_each_patch_with_its_default_and_what_is_in_force(greeting: World) -> None:
    (row,) = greeting.command("list", "--json").json_document
    assert {
        "name": "greeting",
        "summary": "a patch for a test",
        "default": True,
        "enabled": True,
        "origin": THEIRS,
    }.items() <= row.items()
    (off,) = greeting.command("list", "--json", env={"ASCEND_PATCHES_DISABLE": "greeting"}).json_document
    assert (off["default"], off["enabled"], off["reason"]) == (True, False, "switched off by ASCEND_PATCHES_DISABLE")
    assert greeting.command("list").stdout == (
        f"patch     now  default  summary             from\ngreeting  on   on       a patch for a test  {THEIRS}\n"
    )
    (everything,) = greeting.command("list", "--json", env={"ASCEND_PATCHES": "off"}).json_document
    assert everything["enabled"] is False


def test_explain_tells_what_why_where_and_what_would_happen_here(world: World) -> None:
    world.package("vllm", {"engine": "def double(x):\n    return x * 2\n"}, version="0.15.0")
    world.patch(
        "double",
        {"vllm.engine:double": "double"},
        "def double(x):\n    return x + x\n",
        gate="vllm_version_is('0.15.0')",
        more="why='it is slow', upstream=('https://example.org/1',), retire='with 0.16', default=False, "
        "options={'factor': Option(5, 'how much')}",
    )
    text = world.command("explain", "double").stdout
    for part in (
        "double: a patch for a test",
        "why               it is slow",
        "retire it         with 0.16",
        "upstream          https://example.org/1",
        "from              double-module (entry point entry = double_module:PATCHES)",
        "now               switched off by default (default: off)",
        "option factor     5 (default 5; an integer): how much",
        "variant only      for vllm ==0.15.0",
        "fits here: vllm is 0.15.0",
        "rewrites vllm.engine:double",
        "here              is off; if it were on, it would be applied: variant only fits: vllm is 0.15.0",
    ):
        assert part in text, part
    data = world.command("explain", "double", "--json").json_document
    assert (data["enabled"], data["foreseen"]["verdict"]) == (False, "apply")
    assert [variant["parts"] for variant in data["variants"]] == [[{"name": "only", "targets": ["vllm.engine:double"]}]]


def test_explain_tells_which_rewrites_are_applied_together(world: World) -> None:
    world.package("vllm", {"one": "def f(): pass\n", "two": "def g(): pass\n"}, version="0.15.0")
    world.patch("pair", {"vllm.one:f": "f", "vllm.two:g": "g"}, "def f(): pass\ndef g(): pass\n", parts=True)
    lines = [line.strip() for line in world.command("explain", "pair").stdout.splitlines()]
    assert {"part f rewrites vllm.one:f", "part g rewrites vllm.two:g"} <= set(lines)


def test_commands_look_at_code_without_importing_it(world: World) -> None:
    world.package("vllm", {"": "raise SystemExit(9)", "engine": "def double(x):\n    return x * 2\n"})
    world.patch("double", {"vllm.engine:double": "double"}, "def double(x):\n    return x + x\n")
    for arguments in (["list"], ["status"], ["explain", "double"], ["diff", "double"], ["doctor"]):
        assert world.command(*arguments).returncode != 9, arguments
    assert "would be applied" in world.command("explain", "double").stdout


@pytest.mark.parametrize("command", ["explain", "diff"])
def test_an_unknown_patch_is_named_with_those_that_are_known(command: str, greeting: World) -> None:
    result = greeting.command(command, "greting")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("ascend-patches: there is no patch 'greting'; did you mean 'greeting'?")
    assert "greeting" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["chekc"], "'check'"),
        (["statuss"], "'status'"),
        (["status", "--jsn"], "'--json'"),
        (["check", "--whels", "x", "y"], "'--wheels'"),
        (["completion", "bsh"], "'bash'"),
    ],
)
def test_a_misspelt_command_or_option_is_answered_with_the_nearest(
    arguments: list[str], near: str, world: World
) -> None:
    result = world.command(*arguments)
    assert (result.returncode, f"did you mean {near}?" in result.stderr) == (2, True), result.stderr


def test_the_help_of_every_command_has_examples_that_its_own_parser_takes(world: World) -> None:
    from ascend_patches.commands.command_line import _EXAMPLES, parser

    for name, examples in _EXAMPLES.items():
        assert examples, name
        for example in examples:
            words = example.partition("   ")[0].replace("source <(", "").rstrip(")").split()
            if words[0] == "ascend-patches":
                end = next((words.index(word) for word in ("&&", "|") if word in words), len(words))
                assert parser().parse_args(words[1:end]).name in (name, words[1])


# status


def test_status_of_a_sound_world_is_zero_and_says_what_would_happen(greeting: World) -> None:
    result = greeting.command("status")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "mode       on"
    assert lines[1] == "settings   none found; the declared defaults"
    assert "vllm 0.15.0" in lines[2]
    assert lines[4].split() == ["patch", "state", "variant", "reason"]
    assert lines[5].startswith(
        "greeting  waiting  only     would be applied when vLLM imports it: variant only fits: on every release"
    )


def test_status_as_json_has_the_promised_shape(greeting: World) -> None:
    data = greeting.command("status", "--json").json_document
    assert {"pid", "mode", "activated_by", "settings_file", "versions", "patches"} <= set(data)
    (patch,) = data["patches"]
    assert {"name", "state", "variant", "reason", "targets"} <= set(patch)
    assert [set(target) for target in patch["targets"]] == [{"target", "state", "reason"}]


def test_status_is_one_when_strict_mode_would_stop(changed: World) -> None:
    result = changed.command("status", env={"ASCEND_PATCHES": "strict"})
    assert result.returncode == 1
    assert "vLLM would not start: strict mode: greeting: upstream changed" in result.stdout


def test_status_is_one_with_settings_that_cannot_be_used_and_shows_why(greeting: World) -> None:
    settings = greeting.settings("nonsense = 1\n")
    result = greeting.command("status", "--config", settings)
    assert result.returncode == 1
    assert f"problem: {settings}, line 1: nonsense: unknown key" in result.stdout


def test_status_of_a_directory_shows_every_process_side_by_side(greeting: World, tmp_path: Path) -> None:
    env = {"ASCEND_PATCHES_REPORT_DIR": str(tmp_path / "reports")}
    greeting.python("import vllm.engine", start=True, env=env)
    greeting.python("import vllm", start=True, env=env)
    folder = str(tmp_path / "reports")
    shown = greeting.command("status", "--dir", folder)
    assert shown.returncode == 0
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert rows[0] == ["process", "patch", "state", "variant", "reason"]
    assert sorted(row[3] for row in rows[1:]) == ["applied", "waiting"]
    assert all(row[1] == "(ended)" for row in rows[1:])
    data = greeting.command("status", "--dir", folder, "--json").json_document
    assert sorted(one["patches"][0]["state"] for one in data["reports"]) == ["applied", "waiting"]
    assert data["problems"] == []


def test_status_of_a_directory_is_one_when_a_patch_failed_or_a_report_is_broken(world: World, tmp_path: Path) -> None:
    report = {"host": "x", "pid": 1, "problems": [], "patches": []}
    patch = {"name": "one", "state": "failed", "variant": None, "reason": "broken"}
    file = tmp_path / "ascend_patches-x-1.json"
    for content, code in (
        (report, 0),
        ({**report, "patches": [patch]}, 1),
        ({**report, "problems": ["disk"]}, 1),
        ({}, 1),
    ):
        file.write_text(json.dumps(content))
        result = world.command("status", "--dir", str(tmp_path))
        assert result.returncode == code, content
        assert "Traceback" not in result.stderr


def test_a_directory_without_reports_says_so_and_one_that_is_not_there_is_an_error(
    world: World, tmp_path: Path
) -> None:
    assert f"no process has left a report in {tmp_path}" in world.command("status", "--dir", str(tmp_path)).stdout
    missing = world.command("status", "--dir", str(tmp_path / "missing"))
    assert missing.returncode == 1
    assert "no such directory; set ASCEND_PATCHES_REPORT_DIR for the server" in missing.stderr


MISFITS = {
    "def greet(name): return name": "upstream's positional parameter 'mark' is missing: it has none",
    "def greet(name, mark='?'): return name": "the default of 'mark' is '!' upstream and '?' in the replacement",
    "async def greet(name, mark='!'): return name": "one of the two is a coroutine or a generator",
}


@pytest.mark.parametrize("replacement", MISFITS)
def test_a_replacement_that_activation_will_refuse_is_foreseen(replacement: str, greeting: World) -> None:
    greeting.patch("greeting", {"vllm.engine:greet": "greet"}, replacement)
    for arguments in (["status"], ["explain", "greeting"], ["check", str(greeting.folder)]):
        assert MISFITS[replacement] in " ".join(greeting.command(*arguments).stdout.split()), arguments
    assert greeting.command("check", str(greeting.folder)).returncode == 1
    strict = greeting.command("status", env={"ASCEND_PATCHES": "strict"})
    assert (strict.returncode, "vLLM would not start" in strict.stdout) == (1, True)


@pytest.mark.parametrize("replacement", ["def greet(name, mark='!', *, more=1): return name"])
def test_a_replacement_that_takes_more_is_foreseen_to_fit(replacement: str, greeting: World) -> None:
    greeting.patch("greeting", {"vllm.engine:greet": "greet"}, replacement)
    assert greeting.command("check", str(greeting.folder)).returncode == 0


def test_a_patch_of_a_package_that_no_start_hook_waits_for_is_named(world: World) -> None:
    world.package("acme", {"engine": "def double(x):\n    return x * 2\n"})
    world.patch("double", {"acme.engine:double": "double"}, "def double(x):\n    return 'ours'\n")
    shown = world.command("status").stdout
    assert "note: double goes on only where the toolkit is started before acme is imported" in shown
    found = world.command("doctor")
    assert (found.returncode, "nothing starts the toolkit when acme is imported" in found.stdout) == (1, True)


# init, diff, fingerprint


def test_init_writes_a_file_that_can_be_used_and_never_overwrites_one_unasked(greeting: World, tmp_path: Path) -> None:
    file = tmp_path / "patches.toml"
    written = greeting.command("init", str(file))
    assert written.returncode == 0
    assert f"ASCEND_PATCHES_CONFIG={file}" in written.stdout
    assert "[patches.greeting]" in file.read_text()
    assert greeting.command("status", "--config", str(file)).returncode == 0
    file.write_text("mine")
    again = greeting.command("init", str(file))
    assert (again.returncode, file.read_text()) == (1, "mine")
    assert again.stderr == f"ascend-patches: {file} is there already; it is left alone (--force overwrites)\n"
    assert greeting.command("init", "--force", str(file)).returncode == 0
    assert file.read_text() == greeting.command("init", "-").stdout


def test_init_makes_the_folders_above_its_file_and_puts_a_schema_beside_it(greeting: World, tmp_path: Path) -> None:
    file = tmp_path / "etc" / "ascend_patches" / "patches.toml"
    assert greeting.command("init", str(file)).returncode == 0
    assert file.read_text().startswith("#:schema ./patches.schema.json\n")
    schema = json.loads((file.parent / "patches.schema.json").read_text())
    assert list(schema["properties"]["patches"]["properties"]) == ["greeting"]


@pytest.mark.parametrize("place", ["file/patches.toml", "", "file/below/patches.toml"])
def test_init_into_a_place_that_cannot_be_written_is_an_error(place: str, world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = world.command("init", str(tmp_path / place))
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "cannot be written: " in result.stderr or "is a folder; name a file" in result.stderr


def test_diff_shows_upstreams_function_and_the_replacement(changed: World) -> None:
    result = changed.command("diff", "greeting")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("--- upstream vllm.engine:greet (")
    assert lines[1] == "+++ greeting vllm.engine:greet (variant only)"
    assert "-    return 'rewritten'" in lines
    assert "+    return 'patched ' + name + mark" in lines


def test_diff_of_a_variant_that_is_not_there_names_those_that_are(greeting: World) -> None:
    result = greeting.command("diff", "greeting", "--variant", "other")
    assert result.returncode == 1
    assert "greeting has no variant 'other'; it has: only" in result.stderr


def test_fingerprint_prints_what_a_declaration_needs(greeting: World) -> None:
    target = "vllm.engine:greet"
    assert greeting.command("fingerprint", target).stdout == f"{greeting.fingerprint(target)}\n"


@pytest.mark.parametrize("target", ["vllm.engine", "vllm.engine:missing", "vllm.missing:greet", "nothing.here:f"])
def test_fingerprint_of_what_is_not_there_is_an_error_of_one_line(target: str, greeting: World) -> None:
    result = greeting.command("fingerprint", target)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("ascend-patches: ")


# install, uninstall, run


def test_install_names_what_else_it_waits_for(environment: Environment, world: World) -> None:
    world.package("other", {"engine": "def f():\n    return 1\n"})
    world.patch("of-other", {"other.engine:f": "f"}, "def f():\n    return 2\n")
    result = environment.run(["-m", "ascend_patches", "install"], path=[world.folder])
    assert "now waits for vLLM and other (started by .pth)" in result.stdout


def test_install_and_uninstall_do_and_say_it_in_the_environment_that_runs_them(environment: Environment) -> None:
    file = environment.site_packages / "ascend_patches.pth"
    steps = [
        environment.run(["-m", "ascend_patches", verb]) for verb in ("install", "install", "uninstall", "uninstall")
    ]
    assert [step.returncode for step in steps] == [0] * 4
    first, again, gone, nothing = (step.stdout.splitlines() for step in steps)
    waits = f"every Python of {environment.python.parent.parent} now waits for vLLM (started by .pth); undo with: "
    assert first == [f"{file} written", waits + "ascend-patches uninstall"]
    assert again[0] == f"{file} is in place already"
    assert gone == [f"{file} removed"]
    assert nothing == [f"{file} is not there; nothing to do"]


def test_install_that_does_not_take_effect_is_one_and_says_so(environment: Environment) -> None:
    # Under this variable nothing starts, as with a toolkit that a fresh Python does not find.
    result = environment.run(["-m", "ascend_patches", "install"], env={"ASCEND_PATCHES": "off"})
    assert result.returncode == 1
    assert "but a fresh Python does not start the toolkit; see: ascend-patches doctor" in result.stderr


def test_install_over_a_foreign_file_is_one_and_leaves_it(environment: Environment) -> None:
    file = environment.site_packages / "ascend_patches.pth"
    file.write_text("# theirs\n")
    for verb in ("install", "uninstall"):
        result = environment.run(["-m", "ascend_patches", verb])
        assert result.returncode == 1
        assert "is not a start hook of this toolkit; it is left alone" in result.stderr
    assert file.read_text() == "# theirs\n"


def test_run_starts_the_command_and_all_that_it_starts_with_the_toolkit(greeting: World, tmp_path: Path) -> None:
    inner = 'import vllm.engine as e; from ascend_patches import status as s; print(e.greet("you"), s()["mode"])'
    outer = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {inner!r}]))"
    options = ["--strict", "--report-dir", str(tmp_path), "--config", greeting.settings("mode = 'on'\n")]
    result = greeting.command("run", *options, "--", sys.executable, "-c", outer)
    assert (result.stdout, result.stderr) == ("patched you! strict\n", "")
    assert len(list(tmp_path.glob("ascend_patches-*.json"))) == 1


def test_run_becomes_the_command_and_hands_on_its_arguments_and_its_exit_code(world: World) -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(7)"
    for separator in (["--"], []):
        result = world.command("run", *separator, sys.executable, "-c", code, "--json", "--", "-x")
        assert (result.returncode, result.stdout) == (7, "['--json', '--', '-x']\n")


def test_run_wakes_for_the_roots_of_other_peoples_patches(world: World) -> None:
    world.package("acme", {"engine": "def double(x):\n    return x * 2\n"})
    world.patch("double", {"acme.engine:double": "double"}, "def double(x):\n    return 'ours'\n")
    code = "import acme.engine; print(acme.engine.double(1))"
    assert world.command("run", "--", sys.executable, "-c", code).stdout == "ours\n"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [("/no/such/command", 127, "No such file or directory"), (os.sep, 126, "Permission denied")],
)
def test_run_of_what_cannot_be_run_ends_as_a_shell_would(command: str, code: int, said: str, world: World) -> None:
    result = world.command("run", "--", command)
    assert (result.returncode, result.stderr) == (code, f"ascend-patches run: {command}: {said}\n")


# Where the output goes


def on_a_terminal(world: World, *arguments: str, env: dict[str, str] | None = None) -> str:
    """What a command prints on a terminal."""
    leader, follower = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "ascend_patches", *arguments],
        env=clean_environ([world.folder], {"TERM": "xterm", "COLUMNS": "200", **(env or {})}),
        cwd=os.sep,
        stdout=follower,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    os.close(follower)
    output = b""
    with suppress(OSError):  # what Linux says at the end of a terminal
        while chunk := os.read(leader, 4096):
            output += chunk
    os.close(leader)
    return output.decode()


def test_a_terminal_gets_colour(greeting: World) -> None:
    shown = on_a_terminal(greeting, "status")
    assert "\x1b[" in shown
    assert "greeting" in shown


@pytest.mark.parametrize("command", ["status", "explain"])
def test_a_terminal_is_not_exceeded(command: str, greeting: World) -> None:
    arguments = [command, "greeting"] if command == "explain" else [command]
    shown = on_a_terminal(greeting, *arguments, env={"COLUMNS": "70", "NO_COLOR": "1"})
    assert max(map(len, shown.splitlines())) <= 70


def test_nothing_but_a_terminal_gets_wrapped_lines(greeting: World) -> None:
    lines = greeting.command("status").stdout.splitlines()
    assert [line.startswith("greeting") for line in lines[5:]] == [True]


def test_no_colour_where_nobody_wants_it(greeting: World) -> None:
    assert "\x1b" not in greeting.command("status").stdout
    assert "\x1b" not in on_a_terminal(greeting, "status", env={"NO_COLOR": "1"})
    assert "\x1b" not in on_a_terminal(greeting, "status", env={"TERM": "dumb"})


@pytest.mark.parametrize("arguments", [["list"], ["status", "--json"], ["init", "-"]])
def test_a_reader_who_goes_away_ends_the_command_quietly(arguments: list[str], greeting: World) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "ascend_patches", *arguments],
        env=clean_environ([greeting.folder]),
        cwd=os.sep,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_an_error_of_one_line(greeting: World) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ascend_patches", "list"],
            env=clean_environ([greeting.folder]),
            cwd=os.sep,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "ascend-patches: [Errno 28] No space left on device\n")
