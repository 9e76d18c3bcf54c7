"""Reports: what the patches of a process are doing, as data and as files that processes leave behind."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from support import World

from ascend_patches.reporting import report

REPORT = {
    "pid": os.getpid(),
    "host": "somewhere-else",
    "mode": "on",
    "problems": [],
    "patches": [{"name": "one", "state": "applied", "variant": "only", "reason": "fits", "targets": []}],
}


# The data


def test_a_status_has_the_fields_that_machines_read_and_is_json(greeting: World) -> None:
    result = greeting.python(
        "from ascend_patches import apply_patches\nprint(json.dumps(apply_patches(), allow_nan=False))"
    )
    data = result.json
    assert {"pid", "mode", "activated_by", "settings_file", "versions", "patches"} <= set(data)
    assert data["versions"]["vllm"] == {"version": "0.15.0", "source": "vllm-0.15.0.dist-info"}
    (patch,) = data["patches"]
    assert {"name", "state", "variant", "reason", "targets"} <= set(patch)
    assert [set(target) for target in patch["targets"]] == [{"target", "state", "reason"}]


def test_before_activation_a_status_says_that_nothing_is_active(greeting: World) -> None:
    data = greeting.python("from ascend_patches import status\nprint(json.dumps(status()))").json
    assert (data["activated_by"], data["patches"], data["identity"]) == (None, [], "none")


def test_the_versions_of_all_packages_that_gates_name_are_told(world: World) -> None:
    world.distribution("acme-tools", "3.1", ["acme_tools"])
    world.write("acme_tools.py", "")
    world.patch(
        "one",
        {"vllm.engine:f": "print"},
        "",
        gate="version_in('acme-tools', '>=3') | ~installed('other') & version_in('vllm', '>=1')",
    )
    data = world.python("from ascend_patches import apply_patches\nprint(json.dumps(apply_patches()))").json
    assert data["versions"]["acme-tools"] == {"version": "3.1", "source": "acme_tools-3.1.dist-info"}
    assert "vllm" not in data["versions"]


def test_asking_for_versions_imports_nothing_of_what_is_asked_about(world: World) -> None:
    world.package("vllm", {"": "raise SystemExit('imported')"})
    assert world.python("from ascend_patches import apply_patches\nprint(json.dumps(apply_patches()))").json["versions"]


def test_only_a_target_that_waits_is_said_to_have_been_missed(world: World) -> None:
    world.package("vllm", {"one": "def f():\n    pass\n", "two": "def g():\n    pass\n"})
    world.patch("pair", {"vllm.one:f": "f", "vllm.two:g": "g"}, "def f():\n    pass\n\ndef g():\n    pass\n")
    result = world.python(
        "import vllm.one\nfrom ascend_patches import apply_patches\nprint(json.dumps(apply_patches()['patches'][0]))"
    )
    assert result.json["reason"].startswith("waiting for the import of vllm.two")
    assert [target["state"] for target in result.json["targets"]] == ["waiting", "waiting"]


# Files


def test_every_process_leaves_a_report_of_its_own_and_keeps_it_up_to_date(greeting: World, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "reports"
    result = greeting.python(
        "import os, vllm\n"
        "from ascend_patches import status\n"
        f"folder = {str(folder)!r}\n"
        "state = lambda: [json.load(open(os.path.join(folder, name)))['patches'][0]['state']\n"
        "                 for name in sorted(os.listdir(folder))]\n"
        "steps = [state()]\n"
        "import vllm.engine\n"
        "steps.append(state())\n"
        "if os.fork() == 0:\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "steps.append(state())\n"
        "print(json.dumps([steps, len(os.listdir(folder))]))",
        start=True,
        env={"ASCEND_PATCHES_REPORT_DIR": str(folder)},
    )
    assert result.json == [[["waiting"], ["applied"], ["applied", "applied"]], 2]
    reports, problems = report.read(str(folder))
    assert problems == []
    assert [one["running"] for one in reports] == [False, False]
    assert {one["activated_by"] for one in reports} == {".pth"}


def test_a_process_that_does_not_import_vllm_leaves_nothing(world: World, tmp_path: Path) -> None:
    world.python("pass", start=True, env={"ASCEND_PATCHES_REPORT_DIR": str(tmp_path / "reports")})
    assert not (tmp_path / "reports").exists()


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write(str(tmp_path), REPORT)
    before = [(file.name, file.read_text()) for file in tmp_path.iterdir()]

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        report.write(str(tmp_path), {**REPORT, "mode": "strict"})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == before


REPEAT = "import vllm.engine, importlib\nfor _ in range(3):\n    importlib.reload(vllm.engine)\n"


def test_a_directory_that_cannot_be_made_is_said_once_and_not_in_the_way(greeting: World, tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("")
    code = REPEAT + "print(json.dumps(vllm.engine.greet('you')))"
    result = greeting.python(code, start=True, env={"ASCEND_PATCHES_REPORT_DIR": str(file)})
    assert result.json == "patched you!"
    assert result.stderr == f"ascend_patches: no report left in {file}: File exists\n"


def test_a_full_disk_is_said_once_and_leaves_no_draft(greeting: World, tmp_path: Path) -> None:
    # The largest file that the process may write stands for a disk with no more space than that.
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, {resource.RLIM_INFINITY}))\n"
    result = greeting.python(
        code + REPEAT + "print(json.dumps(vllm.engine.greet('you')))",
        start=True,
        env={"ASCEND_PATCHES_REPORT_DIR": str(tmp_path)},
    )
    assert result.json == "patched you!"
    assert result.stderr == f"ascend_patches: no report left in {tmp_path}: File too large\n"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == []


def test_in_strict_mode_nothing_starts_without_the_report_that_was_asked_for(greeting: World, tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("")
    env = {"ASCEND_PATCHES_REPORT_DIR": str(file), "ASCEND_PATCHES": "strict"}
    result = greeting.python("import vllm\n", start=True, env=env)
    assert result.returncode == 1
    assert f"StrictModeError: strict mode: no report left in {file}: File exists\n" in result.stderr


def test_a_report_that_is_lost_later_stops_nothing_in_strict_mode_either(greeting: World, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    result = greeting.python(
        "import os, shutil, vllm\n"
        f"shutil.rmtree({str(folder)!r})\n"
        f"open({str(folder)!r}, 'w').close()\n"
        "import vllm.engine\n"
        "print(json.dumps(vllm.engine.greet('you')))",
        start=True,
        env={"ASCEND_PATCHES_REPORT_DIR": str(folder), "ASCEND_PATCHES": "strict"},
    )
    assert result.json == "patched you!"
    assert result.complaints == [f"ascend_patches: no report left in {folder}: File exists"]


# Reading them


def test_a_report_of_another_host_may_run_or_not(tmp_path: Path) -> None:
    report.write(str(tmp_path), REPORT)
    ((data,), _) = report.read(str(tmp_path))
    assert data["running"] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        '"text"',
        "{}",
        '{"host": "x", "pid": 1}',
        '{"host": "x", "pid": 1, "problems": [], "patches": 5}',
        '{"host": "x", "pid": 1, "problems": [], "patches": [5]}',
        '{"host": "x", "pid": 1, "problems": [], "patches": [{"name": "one"}]}',
        '{"host": "x", "pid": 1, "problems": null, "patches": []}',
        "\xff",
    ],
)
def test_a_file_that_is_no_report_is_named_beside_the_others(text: str, tmp_path: Path) -> None:
    report.write(str(tmp_path), REPORT)
    (broken := tmp_path / "ascend_patches-broken.json").write_bytes(text.encode("latin-1"))
    reports, (problem,) = report.read(str(tmp_path))
    assert len(reports) == 1
    assert problem.startswith(f"{broken}: no report: ")


@pytest.mark.parametrize("pid", ["none", 10**30])
def test_a_report_with_an_impossible_pid_is_no_report(pid: object, tmp_path: Path) -> None:
    import socket

    (tmp_path / "ascend_patches-x.json").write_text(json.dumps({**REPORT, "host": socket.gethostname(), "pid": pid}))
    reports, problems = report.read(str(tmp_path))
    assert (reports, len(problems)) == ([], 1)


def test_other_files_in_the_directory_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / ".draft-x").write_text("{")
    assert report.read(str(tmp_path)) == ([], [])
