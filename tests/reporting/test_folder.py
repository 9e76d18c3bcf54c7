"""The folder of reports as hostile ground: what lies there may be anything, and belong to anybody."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import World, clean_environ, run_python

from ascend_patches.reporting import folder, lifetime, report

HOST = socket.gethostname()


def made(**more: Any) -> dict[str, Any]:
    """A report of this process, as data."""
    patch: dict[str, Any] = {
        "name": "one",
        "state": "applied",
        "variant": "only",
        "reason": "fits",
        "targets": [],
        "shadow": None,
    }
    data = {"pid": os.getpid(), "host": HOST, "process": lifetime.of_this_process(), "mode": "on", "command": ["x"]}
    return {**data, "problems": [], "patches": [patch], **more}


def patch(**more: Any) -> dict[str, Any]:
    return {"name": "one", "state": "applied", "variant": None, "reason": "", **more}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with one report that is as it should be."""
    report.write(str(tmp_path), made(host="somewhere-else"))
    return tmp_path


def hostile(place: Path, name: str = f"ascend_patches-{HOST}-1.json") -> Path:
    return place / name


# Files that are no reports


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_link_to_a_report(path: Path) -> None:
    (path.parent / "real").write_text(json.dumps(made()))
    path.symlink_to("real")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has to be short
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def of_400_mb(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.truncate(400 * 1024**2)


def text(content: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def data(**more: Any) -> Callable[[Path], None]:
    return text(json.dumps(made(**more)))


NO_REPORTS: dict[str, Callable[[Path], None]] = {
    "pipe": a_pipe,
    "directory": a_directory,
    "link to a report": a_link_to_a_report,
    "link to itself": a_link_to_itself,
    "link to a device": a_link_to_a_device,
    "socket": a_socket,
    "400 MB": of_400_mb,
    "empty": text(""),
    "deep lists": text("[" * 100_000),
    "deep lists that end": text("[" * 5_000 + "]" * 5_000),
    "deep tables": text('{"a":' * 100_000),
    "deep but no deeper than Python": data(extra=json.loads("[" * 50 + "]" * 50)),
    "many values": text("[" + "0," * 400_000 + "0]"),
    "not UTF-8": text(b"\xff\xfe{}"),
    "NaN": text(json.dumps(made(extra=float("nan")))),
    "Infinity": text(json.dumps(made(extra=float("inf")))),
    "1e999": text(json.dumps(made())[:-1] + ', "extra": 1e999}'),
    "number of 5,000 digits": text('{"pid": ' + "9" * 5_000 + "}"),
    "number of 100 digits": data(pid=10**100),
    "number of 100 digits elsewhere": data(extra=10**100),
    "key twice": text(json.dumps(made())[:-1] + ', "pid": 5}'),
    "pid is true": data(pid=True),
    "pid is a float": data(pid=1.0),
    "pid is a text": data(pid="1"),
    "pid is negative": data(pid=-1),
    "pid is 0": data(pid=0),
    "host is a list": data(host=["x"]),
    "host is null": data(host=None),
    "command is a text": data(command="vllm"),
    "command holds numbers": data(command=[1]),
    "mode is a table": data(mode={}),
    "process is a list": data(process=[]),
    "process lacks its start": data(process={"boot": "x", "namespace": "y"}),
    "versions are a list": data(versions=[1]),
    "version is a number": data(versions={"vllm": 1}),
    "problems are a table": data(problems={"a": 1}),
    "problems hold null": data(problems=[None]),
    "patches are a table": data(patches={}),
    "patch is null": data(patches=[None]),
    "name is a number": data(patches=[patch(name=1)]),
    "name is long": data(patches=[patch(name="x" * 10_000)]),
    "name with an escape": data(patches=[patch(name="a\x1b[2Jb")]),
    "name is a surrogate": data(patches=[patch(name="\udc80")]),
    "state is a list": data(patches=[patch(state=[])]),
    "state is a surrogate": data(patches=[patch(state="\ud800")]),
    "variant is a table": data(patches=[patch(variant={})]),
    "reason is a number": data(patches=[patch(reason=1)]),
    "shadow is a list": data(patches=[patch(shadow=[])]),
    "count is a text": data(patches=[patch(shadow={"compared": "many"})]),
    "count is negative": data(patches=[patch(shadow={"mismatches": -1})]),
    "count is true": data(patches=[patch(shadow={"mismatches": True})]),
    "targets are a text": data(patches=[patch(targets="x")]),
    "target is a number": data(patches=[patch(targets=[1])]),
    "target's reason is null": data(patches=[patch(targets=[{"target": "a", "state": "b", "reason": None}])]),
    "one name twice": data(patches=[patch(), patch()]),
}


@pytest.mark.parametrize("make", NO_REPORTS.values(), ids=NO_REPORTS)
def test_a_file_that_is_no_report_is_named_and_hides_nothing(make: Callable[[Path], None], place: Path) -> None:
    make(path := hostile(place))
    reports, problems = report.read(str(place))
    assert [one["host"] for one in reports] == ["somewhere-else"]
    (problem,) = problems
    assert problem.startswith(f"{path}: no report: ")
    assert len(problem) < 600


def test_status_of_a_directory_names_each_in_words_and_shows_the_rest(place: Path) -> None:
    for number, make in enumerate(NO_REPORTS.values()):
        make(hostile(place, f"ascend_patches-{HOST}-{number + 1}.json"))
    result = run_python(["-m", "ascend_patches", "status", "--dir", str(place)])
    assert (result.returncode, result.stderr, result.stdout.count("no report: ")) == (1, "", len(NO_REPORTS))
    assert "somewhere-else" in result.stdout
    as_json = run_python(["-m", "ascend_patches", "status", "--dir", str(place), "--json"])
    assert len(as_json.json_document["problems"]) == len(NO_REPORTS)


def test_a_scrape_shows_the_processes_that_run_whatever_lies_beside_their_reports(tmp_path: Path) -> None:
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(len(NO_REPORTS) + 1)]
    try:
        for child, make in zip(children, NO_REPORTS.values(), strict=False):
            make(hostile(tmp_path, f"ascend_patches-{HOST}-{child.pid}.json"))
        good = children[-1].pid
        process = {**(lifetime.of_this_process() or {}), "started": lifetime.started_at(good)}
        report.write(str(tmp_path), made(pid=good, process=process))
        refused: list[str] = []
        assert [one["pid"] for one in folder.of_the_others(str(tmp_path), refused)] == [good]
        assert len(refused) == len(NO_REPORTS)
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_file_that_speaks_of_another_process_than_its_name_is_not_believed(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        hostile(tmp_path, f"ascend_patches-{HOST}-{child.pid}.json").write_text(json.dumps(made()))
        refused: list[str] = []
        assert list(folder.of_the_others(str(tmp_path), refused)) == []
        assert "another process" in refused[0]
    finally:
        child.kill()
        child.wait()


def test_a_report_that_may_not_be_read_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(place).write_text(json.dumps(made()))
    original = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if path == hostile(place).name:  # as root, nothing else would refuse
            raise PermissionError(13, "Permission denied")
        return original(path, *rest, **more)

    monkeypatch.setattr(folder.untrusted.os, "open", refuse)
    reports, (problem,) = report.read(str(place))
    assert (len(reports), "Permission denied" in problem) == (1, True)


def test_a_report_that_is_gone_by_the_time_it_is_read_is_no_problem(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(place).write_text(json.dumps(made()))

    def read(name: str, *rest: Any) -> Any:
        if HOST in name:
            hostile(place).unlink()
        return original(name, *rest)

    original = folder.untrusted.read
    monkeypatch.setattr(folder.untrusted, "read", read)
    reports, problems = report.read(str(place))
    assert ([one["host"] for one in reports], problems) == (["somewhere-else"], [])


def test_a_file_that_is_exchanged_for_a_link_before_it_is_opened_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = place / "secret"
    secret.write_text(json.dumps(made()))
    hostile(place).write_text(json.dumps(made()))
    original = os.stat

    def exchanged(path: Any, **more: Any) -> os.stat_result:
        found = original(path, **more)
        if path == hostile(place).name:
            hostile(place).unlink()
            hostile(place).symlink_to(secret)
        return found

    monkeypatch.setattr(folder.untrusted.os, "stat", exchanged)
    reports, (problem,) = report.read(str(place))
    assert ([one["host"] for one in reports], "cannot be opened" in problem) == (["somewhere-else"], True)


def test_thousands_of_reports_are_read_and_those_beyond_are_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MOST_FILES", 2_000)
    for number in range(2_500):
        hostile(place, f"ascend_patches-x-{number + 1}.json").write_text("[]")
    reports, problems = report.read(str(place))
    # The good one is among them only because it is looked at by its owner and size, so all that is certain is a count.
    assert len(reports) + len(problems) == 2_001
    assert problems[-1].endswith("501 files more are not read")


def test_what_other_users_pile_up_takes_no_room_of_what_this_user_left(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        hostile(place, f"ascend_patches-a-{number + 1}.json").write_text(json.dumps(made(host="a")) + " " * 9_000)
    monkeypatch.setattr(folder, "MOST_BYTES", 5_000)
    reports, problems = report.read(str(place))
    assert [one["host"] for one in reports] == ["somewhere-else"]
    assert len(problems) == 50


# What a terminal gets

STEERING = (
    *("\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x90q\x9c", "\r", "\b", "\x7f", "\x00", "\x0c", "\x85"),
    *(
        "\u202e",
        "\u2066",
        "\u200f",
        "\u061c",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\U000e0041",
        "\udc80",
        "\x1b[31mred\x1b[0m",
    ),
)


def everywhere(bad: str) -> dict[str, Any]:
    """A report that has it in every field that takes a text."""
    one = patch(reason=bad, targets=[{"target": bad, "state": bad, "reason": bad}], options={bad: bad})
    more = {"command": [bad], "mode": bad, "activated_by": bad, "settings_file": bad, "identity": bad, bad: bad}
    return made(host=f"else{bad}where", problems=[bad, f"two\nall fine{bad}"], patches=[one], process=None, **more)


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_nothing_in_a_report_steers_a_terminal(terminal: bool, tmp_path: Path) -> None:
    for number, bad in enumerate(STEERING):
        hostile(tmp_path, f"ascend_patches-x-{number + 1}.json").write_text(json.dumps(everywhere(bad)))
        name = f"ascend_patches-{bad}.json".encode("utf-8", "surrogatepass").replace(b"\0", b"")
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as stream:
            stream.write(b"[1]")
    shown = _shown(["status", "--dir", str(tmp_path)], terminal)
    assert shown.count("elsewhere") + shown.count("else\\") >= len(STEERING)
    plain = re.sub(r"\x1b\[(3[1236]|0)m", "", shown) if terminal else shown
    assert {each for each in plain if not each.isprintable()} <= ({"\n", "\r"} if terminal else {"\n"})
    assert "\x1b[31mred" not in shown
    assert "\nall fine" not in shown


def _shown(arguments: list[str], terminal: bool) -> str:
    """What a command prints, to a pipe or to a terminal."""
    command = [sys.executable, "-m", "ascend_patches", *arguments]
    environ = {**clean_environ([]), "TERM": "xterm"}
    if not terminal:
        return subprocess.run(command, env=environ, capture_output=True).stdout.decode()
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(command, env=environ, stdout=theirs, stderr=theirs)
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:  # what a terminal says once nobody writes to it any more
            pass
        process.wait()
    finally:
        os.close(ours)
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    "command", [["explain", "\x1b[2Jx"], ["status", "--dir", "/no/\x1b[2Jx"], ["\x1b[2Jx"], ["check", "\x1b[2Jx"]]
)
def test_nothing_that_is_asked_for_steers_a_terminal(command: list[str]) -> None:
    assert "\x1b[2J" not in _shown(command, terminal=True)


# Which process it is


def test_a_pid_that_belongs_to_another_program_by_now_does_not_run(tmp_path: Path) -> None:
    process = lifetime.of_this_process()
    assert process is not None
    report.write(str(tmp_path), made(process={**process, "started": process["started"] - 1}))
    ((data,), _) = report.read(str(tmp_path))
    assert data["running"] is False
    assert list(folder.of_the_others(str(tmp_path))) == []


@pytest.mark.parametrize("mark", ["boot", "namespace"])
def test_a_process_of_another_boot_or_container_cannot_be_told(mark: str, tmp_path: Path) -> None:
    process = lifetime.of_this_process()
    assert process is not None
    report.write(str(tmp_path), made(process={**process, mark: "another"}))
    ((data,), _) = report.read(str(tmp_path))
    assert data["running"] is None
    assert f":{os.getpid()} (another boot or container)" in _shown(["status", "--dir", str(tmp_path)], terminal=False)


def test_a_process_that_runs_is_said_to(tmp_path: Path) -> None:
    report.write(str(tmp_path), made())
    ((data,), _) = report.read(str(tmp_path))
    assert data["running"] is True


def test_a_process_that_has_ended_and_was_not_waited_for_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read(1)"], stdin=subprocess.PIPE)
    started = lifetime.started_at(child.pid)
    assert started is not None
    assert child.stdin is not None
    child.stdin.close()
    while lifetime.started_at(child.pid) is not None:
        time.sleep(0.01)
    assert lifetime.still_runs({**made(), "pid": child.pid}) is False
    child.wait()


# What is written


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("readers", "of_file", "of_folder"), [("owner", 0o600, 0o700), ("group", 0o640, 0o750), ("all", 0o644, 0o755)]
)
def test_few_may_read_a_report(readers: str, of_file: int, of_folder: int, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = folder.write(str(tmp_path / "made"), made(), readers)
    finally:
        os.umask(before)
    assert (rights(Path(path)), rights(tmp_path / "made")) == (of_file, of_folder)


@pytest.mark.parametrize(
    ("settings", "env", "expected"),
    [
        ("", {}, 0o640),
        ('report_readers = "owner"\n', {}, 0o600),
        ('report_readers = "owner"\n', {"ASCEND_PATCHES_REPORT_READERS": "all"}, 0o644),
        ("", {"ASCEND_PATCHES_REPORT_READERS": "Everyone"}, 0o640),
    ],
)
def test_the_operator_says_who_may_read_them(
    settings: str, env: dict[str, str], expected: int, greeting: World, tmp_path: Path
) -> None:
    env = {
        **env,
        "ASCEND_PATCHES_CONFIG": greeting.settings(settings),
        "ASCEND_PATCHES_REPORT_DIR": str(tmp_path / "r"),
    }
    result = greeting.python("import vllm.engine", start=True, env=env)
    (path,) = (tmp_path / "r").iterdir()
    assert rights(path) == expected
    assert ("ASCEND_PATCHES_REPORT_READERS='everyone': expected one of owner, group, all" in result.stderr) == (
        env.get("ASCEND_PATCHES_REPORT_READERS") == "Everyone"
    )


def test_rights_are_never_set_by_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a path may lead elsewhere")

    monkeypatch.setattr(os, "chmod", refuse)
    report.write(str(tmp_path), made())


def test_what_lies_in_the_place_of_a_report_is_not_followed(tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_text("precious")
    victim.chmod(0o600)
    path = hostile(tmp_path, f"ascend_patches-{HOST}-{os.getpid()}.json")
    path.symlink_to(victim)
    report.write(str(tmp_path), made())
    assert (victim.read_text(), rights(victim), path.is_symlink()) == ("precious", 0o600, False)


def test_a_host_with_a_path_for_a_name_does_not_leave_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    report.write(str(inner), made(host="../../x/y"))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_a_report_is_never_too_large_to_be_read_again(tmp_path: Path) -> None:
    report.write(str(tmp_path), made(command=["x" * 10**6] * 3, problems=["y" * 10**5] * 40))
    reports, problems = report.read(str(tmp_path))
    assert (len(reports), problems) == (1, [])


# Processes without an ordinary command line


@pytest.mark.parametrize(
    "change",
    [
        "del sys.argv",
        "sys.argv = None",
        "sys.argv = ['a', None, 3, b'x']",
        "sys.argv = ['\\udc80']",
        "sys.executable = None",
    ],
)
def test_a_process_with_an_odd_command_line_leaves_a_report_all_the_same(
    change: str, greeting: World, tmp_path: Path
) -> None:
    env = {"ASCEND_PATCHES_REPORT_DIR": str(tmp_path)}
    code = f"import sys\n{change}\nimport vllm.engine\nprint(vllm.engine.greet('you'))"
    result = greeting.python(code, start=True, env=env)
    assert (result.stdout, result.complaints) == ("patched you!\n", [])
    assert len(report.read(str(tmp_path))[0]) == 1


def test_a_key_on_the_command_line_is_not_in_the_report(greeting: World, tmp_path: Path) -> None:
    greeting.write("serve.py", "import ascend_patches_start, vllm.engine\n")
    program = [str(greeting.folder / "serve.py"), "--api-key", "S3CRET", "--port", "80"]
    greeting.python(program, env={"ASCEND_PATCHES_REPORT_DIR": str(tmp_path)})
    (path,) = tmp_path.glob("*.json")
    assert "S3CRET" not in path.read_text()
    assert json.loads(path.read_text())["command"][-4:] == ["--api-key", "***", "--port", "80"]


# Cleaning up


def ended(place: Path, pid: int, age: float = 0.0, **more: Any) -> Path:
    """The report of a process that has ended; ``pid`` has to be of none that runs."""
    path = Path(report.write(str(place), made(pid=pid, **more)))
    os.utime(path, (time.time() - age,) * 2)
    return path


NOBODY = 2**31 - 1000
DAYS = 24 * 3600.0


def test_old_reports_of_processes_that_have_ended_are_removed(tmp_path: Path) -> None:
    old, young = ended(tmp_path, NOBODY, 2 * DAYS), ended(tmp_path, NOBODY + 1)
    assert folder.clean_up(str(tmp_path)) == [old.name]
    assert list(tmp_path.iterdir()) == [young]


def test_of_many_the_newest_stay(tmp_path: Path) -> None:
    paths = [ended(tmp_path, NOBODY + number, 60.0 * number) for number in range(folder.KEPT_ENDED + 5)]
    folder.clean_up(str(tmp_path))
    assert set(tmp_path.iterdir()) == set(paths[: folder.KEPT_ENDED])


@pytest.mark.parametrize(
    "more",
    [
        {"host": "another"},
        {"process": None},
        {"process": {**(lifetime.of_this_process() or {}), "boot": "another"}},
        {"process": {**(lifetime.of_this_process() or {}), "namespace": "another"}},
    ],
    ids=["host", "no marks", "boot", "container"],
)
def test_what_another_machine_may_have_left_stays(more: dict[str, Any], tmp_path: Path) -> None:
    ended(tmp_path, NOBODY, 2 * DAYS, **more)
    assert folder.clean_up(str(tmp_path)) == []


def test_an_old_report_of_a_process_that_runs_stays(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read(1)"], stdin=subprocess.PIPE)
    process = {**(lifetime.of_this_process() or {}), "started": lifetime.started_at(child.pid)}
    ended(tmp_path, child.pid, 2 * DAYS, process=process)
    assert folder.clean_up(str(tmp_path)) == []
    child.communicate()


def test_what_is_no_report_is_never_removed(tmp_path: Path) -> None:
    for number, make in enumerate(NO_REPORTS.values()):
        make(hostile(tmp_path, f"ascend_patches-{HOST}-{NOBODY + number}.json"))
        os.utime(hostile(tmp_path, f"ascend_patches-{HOST}-{NOBODY + number}.json"), (0, 0), follow_symlinks=False)
    before = sorted(tmp_path.iterdir())
    folder.clean_up(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == before


def test_the_next_process_that_starts_cleans_up(greeting: World, tmp_path: Path) -> None:
    old = ended(tmp_path, NOBODY, 2 * DAYS)
    greeting.python("import vllm.engine", start=True, env={"ASCEND_PATCHES_REPORT_DIR": str(tmp_path)})
    assert not old.exists()
    assert len(list(tmp_path.glob("*.json"))) == 1
