"""The start hook: a .pth file that is put in place and taken away without harm, and a folder for PYTHONPATH."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support import SITECUSTOMIZE, Environment, World

from ascend_patches.errors import InstallError
from ascend_patches.starting import start_hook


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of this environment's site-packages."""
    monkeypatch.setattr(start_hook, "pth_path", lambda: str(tmp_path / start_hook.PTH_NAME))
    return tmp_path


# Putting it in place and taking it away


def test_install_writes_one_file_that_everybody_can_read_and_says_so(folder: Path) -> None:
    file = folder / "ascend_patches.pth"
    assert start_hook.install(["vllm", "acme"]) == f"{file} written"
    assert [entry.name for entry in folder.iterdir()] == ["ascend_patches.pth"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert file.read_text() == (
        "# ascend-patches start hook; remove it with: ascend-patches uninstall (if that is gone, delete this file)\n"
        "import sys; exec(\"try: import ascend_patches_start; ascend_patches_start.roots += ['acme']"
        '\\nexcept ModuleNotFoundError: pass")\n'
    )


def test_a_file_that_is_left_behind_when_the_package_has_gone_disturbs_no_start(tmp_path: Path) -> None:
    bare = Environment(tmp_path / "bare", with_toolkit=False)
    bare.install_hook("vllm", "acme")
    result = bare.run("print('started')", path=())
    assert (result.returncode, result.stdout, result.stderr) == (0, "started\n", "")


@pytest.mark.parametrize("roots", [["vllm"], ["vllm_ascend", "acme"], ["acme", "b_c"]])
def test_the_packages_that_a_file_waits_for_can_be_read_from_it(roots: list[str]) -> None:
    assert set(start_hook.roots_in(start_hook.pth_text(roots))) == {"vllm", "vllm_ascend", *roots}


def test_packages_for_which_nothing_starts_the_toolkit_are_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert start_hook.unwaited(["vllm", "acme"]) == ("acme",)
    start_hook.install(["vllm", "other"])
    assert start_hook.unwaited(["vllm", "acme", "other"]) == ("acme",)
    start_hook.install(["vllm", "acme"])
    assert start_hook.unwaited(["vllm", "acme"]) == ()


def test_installing_again_changes_nothing_or_replaces_an_older_file(folder: Path) -> None:
    start_hook.install(["vllm"])
    assert start_hook.install(["vllm"]) == f"{folder}/ascend_patches.pth is in place already"
    assert start_hook.install(["acme"]) == f"{folder}/ascend_patches.pth replaced"


def test_uninstall_takes_the_file_away_and_is_content_when_there_is_none(folder: Path) -> None:
    start_hook.install(["vllm"])
    assert start_hook.uninstall() == f"{folder}/ascend_patches.pth removed"
    assert list(folder.iterdir()) == []
    assert start_hook.uninstall() == f"{folder}/ascend_patches.pth is not there; nothing to do"


@pytest.mark.parametrize("content", [b"import theirs\n", b"", b"\xff\xfe"])
@pytest.mark.parametrize("verb", [lambda: start_hook.install(["vllm"]), start_hook.uninstall], ids=["install", "un"])
def test_a_foreign_file_is_refused_and_left_alone(folder: Path, verb: object, content: bytes) -> None:
    file = folder / "ascend_patches.pth"
    file.write_bytes(content)
    with pytest.raises(InstallError, match=str(file)):
        verb()  # type: ignore[operator]
    assert file.read_bytes() == content


def test_a_write_that_fails_leaves_what_was_there_and_no_draft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_hook.install(["vllm"])
    before = start_hook.installed_pth()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InstallError, match=r"cannot be written: No space left on device.*ascend-patches run"):
        start_hook.install(["acme"])
    assert start_hook.installed_pth() == before
    assert [entry.name for entry in folder.iterdir()] == ["ascend_patches.pth"]


def test_a_folder_that_cannot_be_written_is_an_error_that_names_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_hook, "pth_path", lambda: str(tmp_path / "missing" / "ascend_patches.pth"))
    with pytest.raises(InstallError, match=r"cannot be written: No such file or directory\..*ascend-patches run -- "):
        start_hook.install(["vllm"])


def test_a_file_that_cannot_be_removed_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_hook.install(["vllm"])

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(InstallError, match="cannot be removed: Permission denied"):
        start_hook.uninstall()


# What it does in a real environment


def test_the_file_starts_the_toolkit_in_every_python_and_its_children(
    environment: Environment, greeting: World
) -> None:
    environment.install_hook()
    result = environment.run(
        "import json, subprocess, sys\n"
        "code = 'import vllm.engine as e; from ascend_patches import status as s; '\n"
        'code += \'print(e.greet("you"), s()["activated_by"])\'\n'
        "print(json.dumps(subprocess.check_output([sys.executable, '-c', code], text=True)))",
        path=[greeting.folder],
    )
    assert result.json == "patched you! .pth\n"


def test_the_file_wakes_for_the_roots_of_other_peoples_patches(environment: Environment, world: World) -> None:
    world.package("acme", {})
    code = "import acme, json, sys\nprint(json.dumps('ascend_patches.process.toolkit' in sys.modules))"
    environment.install_hook()
    assert environment.run(code, path=[world.folder]).json is False
    environment.install_hook("acme")
    assert environment.run(code, path=[world.folder]).json is True


def test_off_imports_nothing_of_the_toolkit(environment: Environment, greeting: World) -> None:
    environment.install_hook()
    result = environment.run(
        "import json, sys, vllm.engine\nprint(json.dumps([vllm.engine.greet('you'), 'ascend_patches' in sys.modules]))",
        path=[greeting.folder],
        env={"ASCEND_PATCHES": "off"},
    )
    assert result.json == ["upstream you!", False]


def test_both_ways_at_once_start_the_toolkit_once(environment: Environment, greeting: World) -> None:
    environment.install_hook()
    result = environment.run(
        "import json, sys, vllm.engine\n"
        "from ascend_patches.process.finder import finder\n"
        "from ascend_patches import status; from ascend_patches.starting import plugin\n"
        "plugin.activate()\n"
        "print(json.dumps([vllm.engine.greet('you'), sys.meta_path.count(finder), status()['activated_by']]))",
        path=[SITECUSTOMIZE, greeting.folder],
    )
    assert result.json == ["patched you!", 1, "sitecustomize"]
    assert result.stderr == ""


# The environment for children


def test_the_folder_comes_first_on_the_path_once_and_the_rest_stays() -> None:
    folder = start_hook.sitecustomize_folder()
    given = {"PYTHONPATH": os.pathsep.join(["/theirs", folder, "", "/more"]), "HOME": "/home"}
    made = start_hook.environment_for_children(["vllm", "acme", "other"], given)
    assert made["PYTHONPATH"].split(os.pathsep) == [folder, "/theirs", "/more"]
    assert made["ASCEND_PATCHES_ROOTS"] == "acme,other"
    assert made["HOME"] == "/home"
    assert given["PYTHONPATH"].startswith("/theirs")


def test_without_other_roots_and_without_a_path_only_the_folder_is_added() -> None:
    made = start_hook.environment_for_children(["vllm", "vllm_ascend"], {})
    assert made == {"PYTHONPATH": start_hook.sitecustomize_folder()}


# Finding out


@pytest.mark.parametrize("generations", [1, 2])
def test_how_a_fresh_interpreter_starts_the_toolkit_is_found_out(generations: int, environment: Environment) -> None:
    ask = f"from ascend_patches.starting import start_hook as s; print(s.started_in_child({generations}))"
    assert environment.run(ask).stdout == "None\n"
    assert environment.run(ask, path=[SITECUSTOMIZE]).stdout == "sitecustomize\n"
    environment.install_hook()
    assert environment.run(ask).stdout == ".pth\n"
