"""tools/contract_torch_npu: what real torch_npu releases are compared with, and how a difference is told."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from torch_npu_contract import importing, reading, stubs, wheels  # noqa: E402
from torch_npu_contract.calls import read_calls, why_it_does_not_bind  # noqa: E402
from torch_npu_contract.errors import CannotCheckError  # noqa: E402
from torch_npu_contract.releases import age  # noqa: E402
from torch_npu_contract.schema import differences, parse  # noqa: E402

ROTARY = "npu_rotary_mul(Tensor input, Tensor r1, Tensor r2, str rotary_mode='half') -> Tensor"
ATTENTION = "_npu_attention(Tensor query, int[]? lengths=None, *, float scale=1.0, Tensor(a!) out) -> ()"


def tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "contract_torch_npu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "registered"),
    [
        ("op(str mode='half') -> ()", 'op(str mode="half") -> ()'),
        ("op(float scale=1) -> ()", "op(float scale=1.) -> ()"),
        ("op(float epsilon=1e-5) -> ()", "op(float epsilon=1.0000000000000001e-05) -> ()"),
        ("op(Tensor x, *,int ? kind = 0) -> ()", "op(Tensor x, *, int? kind=0) -> ()"),
        ("op(bool on=False) -> ()", "op(bool on=false) -> ()"),
        ("op(int[2] size=[1, 1]) -> ()", "op(int[2] size=1) -> ()"),
        ("op(Tensor(a!) x) -> (Tensor, Tensor)", "op(Tensor(a!) x) -> (Tensor,Tensor)"),
    ],
)
def test_two_spellings_of_one_schema_do_not_differ(written: str, registered: str) -> None:
    assert differences(parse(written), parse(registered)) == []


@pytest.mark.parametrize(
    ("ours", "real", "difference"),
    [
        ("op(int n) -> ()", "op(int m) -> ()", "argument 1: ours int n, real int m"),
        ("op(int n=1) -> ()", "op(int n=2) -> ()", "argument 1: ours int n=1, real int n=2"),
        ("op(int n) -> ()", "op(*, int n) -> ()", "argument 1: ours int n, real keyword-only int n"),
        ("op(Tensor x) -> ()", "op(Tensor(a!) x) -> ()", "argument 1: ours Tensor x, real Tensor(a!) x"),
        ("op(int n) -> ()", "op(int n, int k=0) -> ()", "argument 2: ours missing, real int k=0"),
        (
            "op(int[2] size=[1, 2]) -> ()",
            "op(int[2] size=1) -> ()",
            "argument 1: ours int[2] size=[1,2], real int[2] size=1",
        ),
        ("op() -> Tensor", "op() -> Tensor[]", "returns: ours Tensor, real Tensor[]"),
    ],
)
def test_a_difference_names_the_argument_and_both_sides(ours: str, real: str, difference: str) -> None:
    assert differences(parse(ours), parse(real)) == [difference]


def test_the_schemas_of_the_repository_are_taken_apart_as_torch_does() -> None:
    import torch

    for schemas in json.loads((ROOT / "emulated_npu/schemas.json").read_text()).values():
        for text in schemas.values():
            printed = str(torch._C.parse_schema(text))
            assert differences(parse(text), parse(printed)) == []


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="not an op schema"):
        parse("npu_rotary_mul")


def test_candidates_come_before_their_release_and_post_releases_after_it() -> None:
    releases = ["2.13.0", "2.7.1.post10", "2.7.1", "2.7.1rc1", "2.7.1.post2"]
    assert sorted(releases, key=age) == ["2.7.1rc1", "2.7.1", "2.7.1.post2", "2.7.1.post10", "2.13.0"]


# --- calls -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "calls.txt"
        path.write_text(text)
        return path

    return write


SCHEMAS = {"npu::npu_rotary_mul": ROTARY, "atb::_npu_attention": ATTENTION}


@pytest.mark.parametrize(
    "call",
    [
        "npu_rotary_mul(Tensor, Tensor, Tensor)",
        'npu_rotary_mul(Tensor, r2=Tensor, r1=Tensor, rotary_mode="interleave")',
        "_npu_attention(Tensor, [int], scale=float, out=Tensor)",
        "_npu_attention(Tensor, None, scale=int, out=Tensor)",
    ],
)
def test_a_call_that_fits_binds(call: str, table: Callable[[str], Path]) -> None:
    (read,) = read_calls(table(call))
    assert why_it_does_not_bind(read, SCHEMAS) is None


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("npu_rotary_mull(Tensor)", "no such op; did you mean npu_rotary_mul?"),
        ("npu_rotary_mul(Tensor, Tensor)", "npu_rotary_mul: argument 'r2' is missing"),
        ("npu_rotary_mul(Tensor, Tensor, Tensor, rotate=Tensor)", "npu_rotary_mul: has no argument 'rotate'"),
        ("npu_rotary_mul(Tensor, Tensor, Tensor, 1)", "npu_rotary_mul: argument 'rotary_mode' is str, int given"),
        ("npu_rotary_mul(Tensor, Tensor, Tensor, r1=Tensor)", "npu_rotary_mul: argument 'r1' is given twice"),
        ("npu_rotary_mul(None, Tensor, Tensor)", "npu_rotary_mul: argument 'input' is Tensor, None given"),
        ("_npu_attention(Tensor, None, 1.0, out=Tensor)", "_npu_attention: takes 2 positional arguments, 3 given"),
        (
            "_npu_attention(Tensor, lengths=Tensor, out=Tensor)",
            "_npu_attention: argument 'lengths' is int[]?, Tensor given",
        ),
        ("_npu_attention(Tensor, [float], out=Tensor)", "_npu_attention: argument 'lengths' is int[]?, [float] given"),
    ],
)
def test_a_call_that_does_not_fit_tells_why(call: str, reason: str, table: Callable[[str], Path]) -> None:
    (read,) = read_calls(table(call))
    assert why_it_does_not_bind(read, SCHEMAS) == reason


def test_a_call_may_name_its_overload(table: Callable[[str], Path]) -> None:
    (call,) = read_calls(table("op.out(Tensor, out=Tensor)"))
    overloads = {"npu::op": "op(Tensor x) -> Tensor", "npu::op.out": "op.out(Tensor x, *, Tensor(a!) out) -> Tensor"}
    assert why_it_does_not_bind(call, overloads) is None


def test_a_call_that_names_no_overload_binds_to_any(table: Callable[[str], Path]) -> None:
    (call,) = read_calls(table("op(Tensor, out=Tensor)"))
    overloads = {"npu::op": "op(Tensor x) -> Tensor", "npu::op.out": "op.out(Tensor x, *, Tensor(a!) out) -> Tensor"}
    assert why_it_does_not_bind(call, overloads) is None


@pytest.mark.parametrize(
    ("releases", "fitting"),
    [
        ("from 2.9.0", ["2.9.0", "2.13.0"]),
        ("before 2.9.0", ["2.7.1"]),
        ("from 2.7.1 before 2.13.0", ["2.7.1", "2.9.0"]),
    ],
)
def test_a_call_is_for_the_releases_it_names(releases: str, fitting: list[str], table: Callable[[str], Path]) -> None:
    (call,) = read_calls(table(f"npu_rotary_mul(Tensor)  | {releases}"))
    assert [release for release in ("2.7.1", "2.9.0", "2.13.0") if call.is_for(release)] == fitting


def test_a_call_belongs_to_the_patch_whose_section_it_is_in(table: Callable[[str], Path]) -> None:
    calls = read_calls(table("[one]\na()  # why\n\n[two]\nb()\n"))
    assert [(call.patch, call.text) for call in calls] == [("one", "a()"), ("two", "b()")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("npu_rotary_mul(tensor)", "calls.txt:2: 'tensor' is no kind of value"),
        ("npu_rotary_mul(", r"calls.txt:2: not a call: 'npu_rotary_mul\('"),
        ("op() | since 2.9", "calls.txt:2: 'since 2.9' is no range of releases"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_with_its_number(
    line: str, message: str, table: Callable[[str], Path]
) -> None:
    with pytest.raises(CannotCheckError, match=message):
        read_calls(table(f"[patch]\n{line}\n"))


# --- reading a wheel -------------------------------------------------------------------------------------------------


def wheel_of(release: str, folder: Path, *schemas: str) -> Path:
    """A wheel that has these schemas as string constants, among other bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"torch_npu-{release}-cp311-cp311-manylinux_2_28_aarch64.whl"
    constants = b"\x7fELF\0some text\0" + b"".join(schema.encode() + b"\0" for schema in schemas) + b"npu_half(Ten"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("torch_npu/lib/libtorch_npu.so", constants)
        archive.writestr("torch_npu/lib/libop_plugin_atb.so", b"\0" + ATTENTION.encode() + b"\0")
    return path


def test_reading_finds_the_whole_schemas_of_both_namespaces(tmp_path: Path) -> None:
    assert reading.schemas_in(wheel_of("2.9.0", tmp_path, ROTARY)) == SCHEMAS


def test_reading_keeps_a_namespace_that_the_text_has(tmp_path: Path) -> None:
    found = reading.schemas_in(wheel_of("2.9.0", tmp_path, "custom::op(Tensor x) -> Tensor"))
    assert found["custom::op"] == "op(Tensor x) -> Tensor"


def test_a_wheel_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other.py", "")
    with pytest.raises(CannotCheckError, match=r"has no torch_npu/lib/libtorch_npu\.so"):
        reading.schemas_in(tmp_path / "other.whl")


# --- stand-ins for libraries ----------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library that needs another one, of which nothing is left."""
    needed, needing = tmp_path / "libneeded.so", tmp_path / "libneeding.so"
    gcc = ["gcc", "-shared", "-fPIC", "-x", "c", "-"]
    subprocess.run([*gcc, "-o", needed, "-Wl,-soname,libneeded.so"], input=b"int f(void) { return 7; }", check=True)
    source = b"#include <stdlib.h>\nextern int f(void); int g(void) { free(malloc(1)); return f(); }"
    subprocess.run(
        [*gcc, "-o", needing, "-Wl,--no-as-needed", "-L", tmp_path, "-l:libneeded.so"], input=source, check=True
    )
    needed.unlink()
    return needing


LOAD = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).g())"


def load(library: Path, search: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-c", LOAD, library]
    return subprocess.run(command, env={"LD_LIBRARY_PATH": str(search)}, capture_output=True, text=True, check=False)


def test_a_library_loads_on_generated_stand_ins(library: Path, tmp_path: Path) -> None:
    stand_ins = tmp_path / "stand-ins"
    stand_ins.mkdir()
    stubs.generate([library], [], stand_ins)
    assert load(library, stand_ins).stdout == "0\n"


def test_stand_ins_define_what_the_system_does_not(library: Path, tmp_path: Path) -> None:
    assert stubs.generate([library], [], tmp_path) == stubs.Stubs(libraries=("libneeded.so",), symbols=("f",))


def test_nothing_is_generated_where_nothing_is_missing(tmp_path: Path) -> None:
    complete = tmp_path / "libcomplete.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", complete], input=b"int f;", check=True)
    assert stubs.generate([complete], [], tmp_path) == stubs.Stubs((), ())


def test_a_compiler_that_is_not_there_is_named(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotCheckError, match="readelf is not installed"):
        stubs.generate([library], [], tmp_path)


@pytest.mark.parametrize(
    ("torch", "fits"), [("2.13.0+cpu", True), ("2.13.0", True), ("2.13.1", False), ("2.12.0", False)]
)
def test_a_release_is_imported_only_under_its_own_torch(torch: str, fits: bool) -> None:
    assert importing.Torch(torch, Path()).pairs_with("2.13.0.post2") is fits


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def known(tmp_path: Path) -> list[str | Path]:
    """Arguments for a release that is in the cache, with schemas and calls of our own that fit it."""
    wheel_of("2.9.0", tmp_path / "cache" / "to-read", ROTARY)
    (tmp_path / "schemas.json").write_text(json.dumps({"2.9.0": SCHEMAS}))
    (tmp_path / "calls.txt").write_text("[rotary-embedding]\nnpu_rotary_mul(Tensor, Tensor, Tensor)\n")
    return [
        *("--cache", tmp_path / "cache", "--way", "read"),
        *("--schemas", tmp_path / "schemas.json", "--calls", tmp_path / "calls.txt"),
    ]


def test_a_contract_that_holds_ends_with_zero_and_the_counts(known: list[str | Path]) -> None:
    ran = tool(*known)
    assert (ran.returncode, ran.stdout.splitlines()[1:]) == (
        0,
        ["  schemas  2 of 2 are the real ones", "  calls    1 of 1 bind"],
    )


def test_a_doctored_schema_ends_with_one_and_a_readable_difference(known: list[str | Path], tmp_path: Path) -> None:
    doctored = ROTARY.replace("'half'", "'interleave'")
    (tmp_path / "schemas.json").write_text(json.dumps({"2.9.0": SCHEMAS | {"npu::npu_rotary_mul": doctored}}))
    ran = tool(*known)
    assert (ran.returncode, ran.stdout.splitlines()[1:6]) == (
        1,
        [
            "  schemas  1 of 2 are the real ones",
            "    npu::npu_rotary_mul differs",
            "      argument 4: ours str rotary_mode='interleave', real str rotary_mode='half'",
            f"      ours  {doctored}",
            f"      real  {ROTARY}",
        ],
    )


def test_a_schema_that_the_release_does_not_have_ends_with_one(known: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "schemas.json").write_text(json.dumps({"2.9.0": SCHEMAS | {"npu::made_up": "made_up() -> ()"}}))
    ran = tool(*known)
    assert (ran.returncode, "the release has no such op" in ran.stdout) == (1, True)


def test_a_call_that_does_not_bind_ends_with_one_and_names_its_patch(known: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "calls.txt").write_text("[rotary-embedding]\nnpu_rotary_mul(Tensor)\n")
    ran = tool(*known)
    assert (ran.returncode, ran.stdout.splitlines()[2:]) == (
        1,
        [
            "  calls    0 of 1 bind",
            "    rotary-embedding: npu_rotary_mul(Tensor)",
            "      npu_rotary_mul: argument 'r1' is missing",
        ],
    )


def test_extracting_prints_the_real_schemas_of_the_ops_we_know(known: list[str | Path], tmp_path: Path) -> None:
    newer = ROTARY.replace(") ->", ", Tensor? rotate=None) ->")
    wheel_of("2.11.0", tmp_path / "cache" / "to-read", newer, "unknown_to_us() -> ()")
    ran = tool(*known, "--extract", "2.11.0")
    assert json.loads(ran.stdout) == {"2.11.0": {"npu::npu_rotary_mul": newer, "atb::_npu_attention": ATTENTION}}


def test_extracting_can_put_a_release_into_its_place_in_the_file(known: list[str | Path], tmp_path: Path) -> None:
    wheel_of("2.7.1", tmp_path / "cache" / "to-read", ROTARY)
    tool(*known, "--extract", "2.7.1", "--update")
    assert list(json.loads((tmp_path / "schemas.json").read_text())) == ["2.7.1", "2.9.0"]


def test_updating_keeps_the_form_of_the_file() -> None:
    path = ROOT / "emulated_npu" / "schemas.json"
    assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=1) + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1.0.0"], "has no schemas of torch_npu 1.0.0"),
        (["--way", "import", "--python", "/nowhere/python"], "/nowhere/python cannot be run"),
        (["--calls", "/nowhere/calls.txt"], "the table of calls cannot be read"),
        (["--schemas", "/nowhere/schemas.json"], "/nowhere/schemas.json cannot be read"),
    ],
)
def test_what_cannot_be_checked_ends_with_two_and_the_reason(
    arguments: list[str], message: str, known: list[str | Path]
) -> None:
    ran = tool(*known, *arguments)
    assert (ran.returncode, message in ran.stderr) == (2, True)


def test_a_download_that_fails_ends_with_two_and_what_pip_said(
    known: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "schemas.json").write_text(json.dumps({"0.0.1": SCHEMAS}))
    ran = tool(*known, "0.0.1")
    assert (ran.returncode, "pip cannot download torch-npu==0.0.1" in ran.stderr) == (2, True)


def test_a_download_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(CannotCheckError):
        wheels.wheel_to_read("2.9.0", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.contract
def test_everything_we_say_about_torch_npu_holds_for_the_real_releases() -> None:
    ran = tool()
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.contract
def test_the_release_of_the_torch_that_is_installed_can_be_imported() -> None:
    ran = tool("2.13.0", "--way", "import")
    assert "imported from torch_npu-2.13.0" in ran.stdout, ran.stdout + ran.stderr
