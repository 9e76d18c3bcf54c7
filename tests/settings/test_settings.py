"""Settings: what a file and the environment may say, where they are found, and how each mistake is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support import run_python

from ascend_patches.declaring.gates import always
from ascend_patches.declaring.patch import Option, Patch, Rewrite, Variant
from ascend_patches.errors import SettingsError
from ascend_patches.settings import lines as toml_lines
from ascend_patches.settings import reader
from ascend_patches.settings.model import Choice, Settings
from ascend_patches.upstream.environment import Environment

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is kept from files that others can write")

OPTIONS = {
    "flag": Option(False, "A flag."),
    "count": Option(3, "A number of things."),
    "scale": Option(0.5, "A factor."),
    "label": Option("x", "A text."),
    "kernel": Option("as-upstream", "Which kernel.", ("as-upstream", "fused")),
    "workspace": Option("off", "How large.", ("off",), int),
}
PATCHES = {
    name: Patch(
        name, "For a test.", (Variant("v", always, (Rewrite("vllm:run", print),)),), default=on, options=OPTIONS
    )
    for name, on in (("rotary-embedding", True), ("vision-seq-lens", False))
}
V15 = Environment({"vllm": "0.15.0", "vllm-ascend": "0.13.0"})


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test: no variables, and empty places to look for files."""
    for name in [name for name in os.environ if name.startswith("ASCEND_PATCHES")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(reader, "MACHINE_WIDE", str(tmp_path / "machine" / "patches.toml"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a settings file that nobody else may write, and says where."""

    def write_file(text: str | bytes, name: str = "patches.toml") -> str:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(0o644)
        return str(file)

    return write_file


def choice(path: str | None, where: Environment = V15, patch: str = "rotary-embedding") -> Choice:
    return reader.load(PATCHES, path).choice(PATCHES[patch], where)


def mistakes(file: str) -> list[str]:
    """What is wrong with a file, without its name."""
    with pytest.raises(SettingsError) as refused:
        reader.load(PATCHES, file)
    return [mistake.removeprefix(file).removeprefix(", ").removeprefix(": ") for mistake in refused.value.mistakes]


def test_without_a_file_the_declared_defaults_are_in_force() -> None:
    assert reader.load(PATCHES) == Settings()
    assert choice(None).enabled
    assert not choice(None, patch="vision-seq-lens").enabled
    assert choice(None).options == {name: option.default for name, option in OPTIONS.items()}
    assert (choice(None).reason, choice(None).unknown) == ("switched on by default", "skip")


@pytest.mark.parametrize("text", ["", "[patches]", "[patches.rotary-embedding]", "# nothing"])
def test_a_file_that_says_nothing_changes_nothing(write: Callable[..., str], text: str) -> None:
    assert choice(write(text)) == choice(None)


@pytest.mark.parametrize("text", ["[patches]\nrotary-embedding = false", "[patches.rotary-embedding]\nenabled = false"])
def test_a_patch_is_switched_in_a_word_or_in_a_table(write: Callable[..., str], text: str) -> None:
    file = write(text)
    assert (choice(file).enabled, choice(file).reason) == (False, f"switched off by {file}")


def test_mode_and_unknown_are_read(write: Callable[..., str]) -> None:
    file = write('mode = "strict"\nunknown = "apply"\n[patches.vision-seq-lens]\nunknown = "skip"')
    assert reader.load(PATCHES, file).mode == "strict"
    assert (choice(file).unknown, choice(file, patch="vision-seq-lens").unknown) == ("apply", "skip")


@pytest.mark.parametrize(
    ("option", "written", "value"),
    [
        ("flag", "true", True),
        ("count", "-7", -7),
        ("count", "0x10", 16),
        ("scale", "2", 2.0),
        ("scale", "1e-3", 0.001),
        ("label", '"it\'s"', "it's"),
        ("kernel", '"fused"', "fused"),
        ("workspace", '"off"', "off"),
        ("workspace", "4096", 4096),
    ],
)
def test_options_of_each_type(write: Callable[..., str], option: str, written: str, value: object) -> None:
    found = choice(write(f"[patches.rotary-embedding]\n{option} = {written}")).options
    assert found == {**choice(None).options, option: value}
    assert type(found[option]) is type(value)


OVERRIDES = """
[patches.rotary-embedding]
count = 5

[[patches.rotary-embedding.override]]
when = { vllm = ">=0.15,<0.16" }
enabled = false

[[patches.rotary-embedding.override]]
when = { vllm = "<0.16", vllm-ascend = "0.13.0" }
count = 9
unknown = "apply"
"""


@pytest.mark.parametrize(
    ("versions", "enabled", "count", "unknown"),
    [
        ({"vllm": "0.15.0+empty", "vllm-ascend": "0.13.0rc1"}, False, 9, "apply"),
        ({"vllm": "0.15.0", "vllm-ascend": "0.14.0"}, False, 5, "skip"),
        ({"vllm": "0.15.0"}, False, 5, "skip"),
        ({"vllm": "0.14.0", "vllm-ascend": "0.13.0"}, True, 9, "apply"),
        ({"vllm": "0.16.0", "vllm-ascend": "0.13.0"}, True, 5, "skip"),
        ({"vllm": None, "vllm-ascend": "0.13.0"}, True, 5, "skip"),
        ({"vllm": "dev"}, True, 5, "skip"),
        ({}, True, 5, "skip"),
    ],
)
def test_overrides_hold_for_the_releases_they_name(
    write: Callable[..., str], versions: dict[str, str | None], enabled: bool, count: int, unknown: str
) -> None:
    found = choice(write(OVERRIDES), Environment(versions))
    assert (found.enabled, found.options["count"], found.unknown) == (enabled, count, unknown)


def test_an_override_is_named_as_the_reason(write: Callable[..., str]) -> None:
    file = write(OVERRIDES)
    assert choice(file).reason == f"switched off by {file}, for vllm >=0.15,<0.16"


def test_on_only_for_one_release(write: Callable[..., str]) -> None:
    file = write(
        "[patches.rotary-embedding]\nenabled = false\n"
        '[[patches.rotary-embedding.override]]\nwhen = { VLLM_Ascend = "0.13.0" }\nenabled = true'
    )
    assert [choice(file, Environment({"vllm-ascend": version})).enabled for version in ("0.13.0", "0.14.0")] == [
        True,
        False,
    ]


MISTAKES = [
    ('mode = "of"', ["line 1: mode: expected one of 'on', 'off', 'strict', found 'of'; did you mean 'off'?"]),
    ("mode = true", ["line 1: mode: expected one of 'on', 'off', 'strict', found true"]),
    ('unknown = "aply"', ["line 1: unknown: expected one of 'skip', 'apply', found 'aply'; did you mean 'apply'?"]),
    (
        "\nmod = 1",
        [
            (
                "line 2: mod: unknown key 'mod'; "
                "expected mode, unknown, shadow, quarantine, report_readers, patches; did you mean 'mode'?"
            )
        ],
    ),
    ("patches = 3", ["line 1: patches: expected a table of patches, found 3"]),
    ("[[patches]]", ["line 1: patches: expected a table of patches, found [{}]"]),
    (
        "[patches.rotary-embeding]\nenabled = true",
        ["line 1: patches.rotary-embeding: there is no patch 'rotary-embeding'; did you mean 'rotary-embedding'?"],
    ),
    ("[patches]\n\nzzz = true", ["line 3: patches.zzz: there is no patch 'zzz'"]),
    (
        '[patches]\nrotary-embedding = "on"',
        ["line 2: patches.rotary-embedding: expected true, false or a table, found 'on'"],
    ),
    (
        "[patches.rotary-embedding]\nenabled = 1\ncount = 'x'\nscale = true\nkernel = 'fuse'\nworkspace = 1.5",
        [
            "line 2: patches.rotary-embedding.enabled: expected true or false, found 1",
            "line 3: patches.rotary-embedding.count: expected an integer, found 'x'",
            "line 4: patches.rotary-embedding.scale: expected a number, found true",
            "line 5: patches.rotary-embedding.kernel: expected one of 'as-upstream', 'fused', found 'fuse'",
            "line 6: patches.rotary-embedding.workspace: expected one of 'off' or an integer, found 1.5",
        ],
    ),
    (
        "[patches.rotary-embedding]\ncuont = 1",
        [
            ("line 2: patches.rotary-embedding.cuont: unknown key 'cuont'; expected enabled, unknown, shadow, "
            "quarantine, flag, count, scale, label, kernel, workspace, override; did you mean 'count'?")
        ],
    ),
    (
        "[patches.rotary-embedding.override]\nenabled = true",
        [
            ("line 1: patches.rotary-embedding.override: expected an array of tables, [[patches.NAME.override]], "
            "found {'enabled': True}")
        ],
    ),
    (
        "[[patches.rotary-embedding.override]]\nenabled = true",
        [
            ("line 1: patches.rotary-embedding.override[1]: an override needs a condition, such as "
            'when = { vllm = ">=0.15,<0.16" }')
        ],
    ),
    (
        '[[patches.rotary-embedding.override]]\nwhen = { vllm = "1" }',
        [
            ("line 1: patches.rotary-embedding.override[1]: an override needs something to set, "
            "such as enabled = false")
        ],
    ),
    (
        '[[patches.rotary-embedding.override]]\nflag = true\nwhen = ">=1"',
        [
            ("line 3: patches.rotary-embedding.override[1].when: expected a table of version ranges, such as "
            "{ vllm = \">=0.15,<0.16\" }, found '>=1'")
        ],
    ),
    (
        "[[patches.rotary-embedding.override]]\nflag = true\nwhen = {}",
        ["line 3: patches.rotary-embedding.override[1].when: the condition names no package"],
    ),
    (
        "[[patches.rotary-embedding.override]]\nflag = true\nwhen = { vllm = 0.15 }",
        [
            "line 3: patches.rotary-embedding.override[1].when.vllm: expected a range of versions in quotes, found 0.15"
        ],
    ),
    (
        '[[patches.rotary-embedding.override]]\nflag = true\nwhen = { vllm = "~=0.15" }',
        [
            ("line 3: patches.rotary-embedding.override[1].when.vllm: '~=0.15' is not a range of versions: "
            "'~=0.15' is not a comparison such as '>=0.15' or '==0.15.*'")
        ],
    ),
    (
        '[[patches.rotary-embedding.override]]\nflag = true\nwhen = { "" = "1", "a/b" = "1" }',
        [
            "line 3: patches.rotary-embedding.override[1].when.: is not the name of a package",
            "line 3: patches.rotary-embedding.override[1].when.a/b: is not the name of a package",
        ],
    ),
    (
        '[[patches.rotary-embedding.override]]\nflag = true\nwhen = { vllm-ascend = "1", vllm_ascend = "2" }',
        [
            "line 3: patches.rotary-embedding.override[1].when.vllm_ascend: the condition names this package twice"
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_each_mistake_names_line_key_expectation_and_the_nearest_name(
    write: Callable[..., str], text: str, expected: list[str]
) -> None:
    assert mistakes(write(text)) == expected


LINES = [
    # the line of the one unknown key "bad", wherever TOML lets it be written
    ('mode = "on"\n\n# a comment\nbad = 1', 4),
    ("[patches.rotary-embedding]\nlabel = '''\n[\nbad = 1\n'''\nbad = 2", 6),
    ('[patches.rotary-embedding]\nlabel = """\n\\"""\nbad = 1\n"""""\nbad = 2', 6),
    ("[patches.rotary-embedding]\nlabel = 'a # [ \"'\nbad = 2", 3),
    ('[patches.rotary-embedding]\nlabel = "\\" [ # "\nbad = 2', 3),
    ("patches.rotary-embedding.count = 1\npatches.rotary-embedding.bad = 1", 2),
    ("[patches]\nrotary-embedding.bad = 1", 2),
    ("[patches]\nrotary-embedding = { count = 1, bad = 1 }", 2),
    ("bad = [\n  1, # ]\n  [\n    2,\n  ],\n]\n", 1),
    ("[patches.rotary-embedding]\ncount = 1\n\nbad = [\n1]", 4),
    ('["patches" . \'rotary-embedding\']\n"b\\u0061d" = 1', 2),
    ("[patches.vision-seq-lens]\n[patches.rotary-embedding]\n[patches.rotary-embedding.bad.deeper]\nx = 1", 3),
    ("[patches.rotary-embedding]\n  [patches.rotary-embedding.bad] # here\n", 2),
    (('[patches.rotary-embedding]\n[[patches.rotary-embedding.override]]\nwhen = {v="1"}\nflag = true\n'
     '[[patches.rotary-embedding.override]]\nwhen = {v="2"}\nbad = 2'), 7),
    (('[patches.rotary-embedding]\noverride = [\n  { when = {v = "1"}, flag = true },\n'
     '  { when = {v = "2"}, bad = 2 },\n]'), 2),
]  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(("text", "line"), LINES)
def test_a_mistake_names_the_line_where_its_statement_begins(
    write: Callable[..., str], text: str, line: int, ending: str, mark: bytes
) -> None:
    (mistake,) = mistakes(write(mark + text.replace("\n", ending).encode()))
    assert mistake.startswith(f"line {line}: ")
    assert "unknown key 'bad'" in mistake


def test_every_mistake_is_told_at_once(write: Callable[..., str]) -> None:
    found = mistakes(write('mode = "of"\nmod = 1\n[patches.x]\n[patches.rotary-embedding]\nflag = 3'))
    assert [mistake.partition(":")[0] for mistake in found] == ["line 2", "line 1", "line 3", "line 5"]


def test_syntax_that_is_not_toml_is_told_with_its_place(write: Callable[..., str]) -> None:
    (mistake,) = mistakes(write('mode = "on"\npatches = {'))
    assert mistake.startswith("not TOML: ")
    assert "line 2" in mistake or "end of document" in mistake


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'mode = "on"\n\xff', "line 2: not TOML: byte 12 is not UTF-8"),
        (b"mode = 'a\x00b'", "not TOML: "),
        (b"mode = 1" + b"0" * 5000, "not TOML: "),
        (b"mode = 0x" + b"f" * 5000, "line 1: mode: expected one of 'on', 'off', 'strict', found int too large"),
        (b"mode" + b".a" * 3000 + b" = 1", ""),  # which limit is met first is for the Python to say
        (b"mode = " + b"[" * 5000 + b"]" * 5000, "not read: nested too deeply"),
        (b"[patches.rotary-embedding]\ncount = 9223372036854775808", "line 2: patches.rotary-embedding.count: exp"),
        (b"[patches.rotary-embedding]\nscale = 1" + b"0" * 400, "line 2: patches.rotary-embedding.scale: exp"),
        (b"#" * 300_000, "not read: it is larger than 256000 bytes, so it is no settings file"),
    ],
)  # fmt: skip
def test_hostile_content_is_a_mistake_like_any_other(write: Callable[..., str], content: bytes, what: str) -> None:
    (mistake,) = mistakes(write(content))
    assert mistake.startswith(what)


def test_overrides_that_contradict_each_other_are_refused_wherever_it_runs(write: Callable[..., str]) -> None:
    file = write(
        '[[patches.rotary-embedding.override]]\nwhen = { vllm = ">=0.15" }\nenabled = false\ncount = 1\nflag = true\n'
        '[[patches.rotary-embedding.override]]\nwhen = { vllm = "<0.16" }\nenabled = true\ncount = 2\nflag = true\n'
    )
    assert mistakes(file) == [
        (
            "line 6: patches.rotary-embedding.override[2]: contradicts the override of line 1 about count, enabled: "
            "some release is in [vllm >=0.15] and in [vllm <0.16]"
        )
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('vllm = "<0.15"', 'vllm = ">=0.15"'),
        ('vllm = "0.15", vllm-ascend = "0.13"', 'vllm = "0.15", vllm-ascend = "0.14"'),
    ],
)
def test_overrides_for_different_releases_do_not_contradict(write: Callable[..., str], one: str, other: str) -> None:
    text = "".join(
        f"[[patches.rotary-embedding.override]]\nwhen = {{ {when} }}\ncount = {index}\n"
        for index, when in enumerate((one, other))
    )
    assert reader.load(PATCHES, write(text)).patches


@pytest.mark.parametrize("ascend", ["vllm-ascend", "vllm_ascend"])
def test_one_package_is_one_package_however_it_is_written(write: Callable[..., str], ascend: str) -> None:
    text = "".join(
        f'[[patches.rotary-embedding.override]]\nwhen = {{ {name} = "0.13" }}\ncount = {index}\n'
        for index, name in enumerate((ascend, "VLLM-ascend"))
    )
    assert "contradicts the override of line 1 about count" in mistakes(write(text))[0]


MEETING = (
    '[[patches.rotary-embedding.override]]\nwhen = { vllm = "0.15" }\ncount = 1\n'
    '[[patches.rotary-embedding.override]]\nwhen = { vllm-ascend = "0.13" }\ncount = 2\n'
)


def test_overrides_that_contradict_only_here_are_refused_only_here(write: Callable[..., str]) -> None:
    file = write(MEETING)
    loaded = reader.load(PATCHES, file)
    assert loaded.choice(PATCHES["rotary-embedding"], Environment({"vllm": "0.15.0"})).options["count"] == 1
    with pytest.raises(SettingsError) as refused:
        loaded.choice(PATCHES["rotary-embedding"], V15)
    assert refused.value.mistakes == [
        (
            f"{file}: patches.rotary-embedding.count: two overrides apply here and disagree: "
            "[vllm 0.15] and [vllm-ascend 0.13]"
        )
    ]


def test_mistakes_say_whether_strict_mode_was_asked_for(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(text: str, variable: str = "") -> bool:
        monkeypatch.setenv("ASCEND_PATCHES", variable)
        with pytest.raises(SettingsError) as refused:
            choice(write(text))
        return refused.value.strict

    assert not strict("bad = 1")
    assert strict('mode = "strict"\nbad = 1')
    assert strict('mode = "strict"\n' + MEETING)
    assert not strict(MEETING)
    assert strict('mode = "strict"', "of")
    monkeypatch.setenv("ASCEND_PATCHES_ENABLE", "no-such-patch")
    assert strict("", "strict")
    assert not strict('mode = "strict"', "on")


def test_the_environment_is_on_top_of_the_file(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = write('mode = "strict"\n[patches]\nrotary-embedding = false\nvision-seq-lens = true')
    monkeypatch.setenv("ASCEND_PATCHES", " ON ")
    monkeypatch.setenv("ASCEND_PATCHES_ENABLE", "rotary-embedding,")
    monkeypatch.setenv("ASCEND_PATCHES_DISABLE", " vision-seq-lens ")
    assert reader.load(PATCHES, file).mode == "on"
    assert choice(file).reason == "switched on by ASCEND_PATCHES_ENABLE"
    assert choice(file, patch="vision-seq-lens").reason == "switched off by ASCEND_PATCHES_DISABLE"


@pytest.mark.parametrize(
    ("enable", "disable", "on"),
    [
        ("all", "", {"rotary-embedding", "vision-seq-lens"}),
        ("", "all", set()),
        ("vision-seq-lens", "all", {"vision-seq-lens"}),
        ("all", "rotary-embedding", {"vision-seq-lens"}),
        ("", "", {"rotary-embedding"}),
        ("vision-seq-lens", "", {"rotary-embedding", "vision-seq-lens"}),
    ],
)
def test_all_is_every_patch_but_those_the_other_variable_names(
    monkeypatch: pytest.MonkeyPatch, enable: str, disable: str, on: set[str]
) -> None:
    monkeypatch.setenv("ASCEND_PATCHES_ENABLE", enable)
    monkeypatch.setenv("ASCEND_PATCHES_DISABLE", disable)
    assert {name for name in PATCHES if choice(None, patch=name).enabled} == on


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"": "of"}, ["ASCEND_PATCHES='of': expected one of on, off, strict; did you mean 'off'?"]),
        ({"": "yes"}, ["ASCEND_PATCHES='yes': expected one of on, off, strict"]),
        (
            {"_ENABLE": "rotary", "_DISABLE": "zzz"},
            [
                "ASCEND_PATCHES_ENABLE: there is no patch 'rotary'; did you mean 'rotary-embedding'?",
                "ASCEND_PATCHES_DISABLE: there is no patch 'zzz'",
            ],
        ),
        ({"_ENABLE": "all", "_DISABLE": "all"}, ["ASCEND_PATCHES_ENABLE and ASCEND_PATCHES_DISABLE both name 'all'"]),
        (
            {"_ENABLE": "vision-seq-lens", "_DISABLE": "vision-seq-lens"},
            ["ASCEND_PATCHES_ENABLE and ASCEND_PATCHES_DISABLE both name 'vision-seq-lens'"],
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"ASCEND_PATCHES{name}", value)
    with pytest.raises(SettingsError) as refused:
        reader.load(PATCHES)
    assert refused.value.mistakes == expected


def test_the_first_place_that_has_a_file_counts(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = write("", "machine/patches.toml")
    assert reader.find_file() == machine
    prefix = write("", "prefix/etc/ascend_patches/patches.toml")
    assert reader.find_file() == prefix
    variable = write("", "variable.toml")
    monkeypatch.setenv("ASCEND_PATCHES_CONFIG", variable)
    assert reader.find_file() == variable
    assert reader.find_file(write("", "explicit.toml")) == os.path.join(os.path.dirname(variable), "explicit.toml")


def test_the_current_directory_is_not_searched_but_may_be_named(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write('mode = "strict"')
    monkeypatch.chdir(tmp_path)
    assert reader.find_file() is None
    assert reader.find_file("patches.toml") == file


@pytest.mark.parametrize("how", ["explicit", "variable"])
def test_a_named_file_that_is_missing_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    missing = str(tmp_path / "missing.toml")
    monkeypatch.setenv("ASCEND_PATCHES_CONFIG", missing if how == "variable" else "")
    with pytest.raises(SettingsError) as refused:
        reader.load(PATCHES, missing if how == "explicit" else None)
    assert refused.value.mistakes == [f"{missing}: cannot be read: No such file or directory"]


def test_a_link_to_nowhere_is_a_mistake_and_not_the_next_place(write: Callable[..., str], tmp_path: Path) -> None:
    write("", "machine/patches.toml")
    place = tmp_path / "prefix/etc/ascend_patches/patches.toml"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "missing")
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        reader.load(PATCHES)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o644)
    assert mistakes(str(tmp_path)) == ["cannot be read: Is a directory"]
    assert mistakes(str(tmp_path / "pipe")) == ["not read: it is no regular file"]
    assert mistakes("/dev/zero") == ["not read: it is no regular file"]
    with pytest.raises(SettingsError, match="null byte"):
        reader.load(PATCHES, "a\0b")


def refusal(file: str) -> str | None:
    """Why root does not read a file, or None if it does."""
    try:
        reader.load(PATCHES, file)
    except SettingsError as error:
        return str(error)
    return None


@needs_root
@pytest.mark.parametrize(
    ("mode", "owner", "refused"),
    [(0o644, 0, False), (0o600, 0, False), (0o664, 0, True), (0o646, 0, True), (0o600, 65534, True)],
)
def test_root_reads_no_file_that_others_can_write(
    write: Callable[..., str], mode: int, owner: int, refused: bool
) -> None:
    file = write("")
    os.chmod(file, mode)
    os.chown(file, owner, 0)
    expected = f"{file}: not read: this process is root and others can write {file}; let root own it"
    assert (refusal(file) or "").startswith(expected if refused else "") is True
    assert (refusal(file) is not None) is refused


@needs_root
@pytest.mark.parametrize(
    ("mode", "owner", "refused"),
    [
        (0o755, 0, False),
        (0o1777, 0, False),
        (0o777, 0, True),
        (0o775, 0, True),
        (0o755, 65534, True),
        (0o1777, 65534, True),
    ],
)
def test_root_reads_no_file_in_a_folder_where_others_could_exchange_it(
    write: Callable[..., str], tmp_path: Path, mode: int, owner: int, refused: bool
) -> None:
    file = write("", "folder/inner/patches.toml")
    os.chmod(tmp_path / "folder", mode)
    os.chown(tmp_path / "folder", owner, 0)
    assert (f"others can write {tmp_path / 'folder'};" in (refusal(file) or "")) is refused


@needs_root
def test_root_looks_at_every_link_on_the_way(write: Callable[..., str], tmp_path: Path) -> None:
    file = write("", "root/patches.toml")
    for name, owner in (("theirs", 65534), ("roots", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "middle").symlink_to(file)
        (tmp_path / name / "first").symlink_to(os.path.join(os.pardir, name, "middle"))
        os.chown(tmp_path / name, owner, 0)
    (tmp_path / "via-theirs").symlink_to(tmp_path / "theirs" / "first")
    (tmp_path / "via-roots").symlink_to(tmp_path / "roots" / "first")
    assert refusal(str(tmp_path / "via-roots")) is None
    assert f"others can write {tmp_path / 'theirs' / '..' / 'theirs'};" in (refusal(str(tmp_path / "via-theirs")) or "")
    (tmp_path / "link-of-theirs").symlink_to(file)
    os.chown(tmp_path / "link-of-theirs", 65534, 0, follow_symlinks=False)
    assert f"others can write {tmp_path / 'link-of-theirs'};" in (refusal(str(tmp_path / "link-of-theirs")) or "")


@needs_root
def test_others_read_what_root_refuses() -> None:
    code = """
        import json, os, tempfile
        from ascend_patches.settings import reader
        from ascend_patches.errors import SettingsError
        folder = tempfile.mkdtemp(dir="/tmp")
        file = os.path.join(folder, "patches.toml")
        open(file, "w").write('mode = "strict"')
        os.chmod(file, 0o666)
        os.chmod(folder, 0o777)
        answers = []
        for user in (0, 65534):
            os.setuid(user)
            try:
                answers.append(reader.load({}, file).mode)
            except SettingsError as error:
                answers.append("refused")
        os.remove(file)
        print(json.dumps(answers))
    """
    assert run_python(code).json == ["refused", "strict"]


def test_a_file_that_may_not_be_read_is_a_mistake() -> None:
    code = """
        import json, os, tempfile
        import ascend_patches.settings.lines
        from ascend_patches.settings import reader
        from ascend_patches.errors import SettingsError
        file = os.path.join(tempfile.mkdtemp(dir="/tmp"), "patches.toml")
        open(file, "w").close()
        os.chmod(file, 0o200)
        if os.geteuid() == 0:  # who reads everything
            os.setuid(65534)
        try:
            reader.load({}, file)
        except SettingsError as error:
            print(json.dumps(error.mistakes[0].removeprefix(file)))
    """
    assert run_python(code).json == ": cannot be read: Permission denied"


def test_a_long_file_full_of_mistakes_is_read_in_one_go(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    loads = toml_lines.tomllib.loads

    def counted(text: str) -> object:
        parsed.append(len(text))
        return loads(text)

    monkeypatch.setattr(toml_lines.tomllib, "loads", counted)
    text = "".join(f"[patches.missing-{index}]\nenabled = true\n" for index in range(1000))
    found = mistakes(write(text))
    assert [mistake.partition(":")[0] for mistake in found] == [f"line {2 * index + 1}" for index in range(1000)]
    assert sum(parsed) <= 3 * len(text)


def outcome(file: str) -> Settings | SettingsError:
    """Settings or SettingsError; any other exception goes through."""
    try:
        loaded = reader.load(PATCHES, file)
        for patch in PATCHES.values():
            loaded.choice(patch, V15)
    except SettingsError as error:
        str(error)
        return error
    return loaded


FUZZED = hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALID = 'mode = "on"\nunknown = "skip"\n' + OVERRIDES + 'label = "x"\n[patches]\nvision-seq-lens = { scale = 1.5 }\n'


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(content=b"\xef\xbb\xbf\xef\xbb\xbf")
@FUZZED
def test_any_content_is_settings_or_a_settings_error(write: Callable[..., str], content: bytes) -> None:
    outcome(write(content))


_scraps = st.sampled_from(
    [
        *(
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            '"',
            "'",
            '"""',
            "'''",
            "\\",
            "\n",
            "\r\n",
            "#",
            "=",
            ".",
            ",",
            "\x00",
            "\ufeff",
        ),
        *("true", "0x" + "f" * 4000, "9" * 5000, "1979-05-27T07:32:00Z", "inf", "nan", "\u00e9", '">=1"', '"=="'),
        *("patches", "override", "when", "vllm", "enabled", '"9999999999999999999999.*"'),
        *("[patches.rotary-embedding]", "[[patches.rotary-embedding.override]]"),
    ]
)


@given(data=st.data(), edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), _scraps), min_size=1, max_size=6))
@FUZZED
def test_any_mutation_of_a_valid_file_is_settings_or_a_settings_error(
    write: Callable[..., str], data: st.DataObject, edits: list[tuple[float, int, str]]
) -> None:
    text = VALID
    for place, length, scrap in edits:
        start = int(place * len(text))
        text = text[:start] + scrap + text[start + length :]
    outcome(write(text))


_values = st.recursive(
    st.one_of(
        st.booleans().map(lambda value: str(value).lower()),
        st.integers(-5, 5).map(str),
        st.sampled_from(['"on"', '"off"', '"apply"', "1.5", '">=0.15"', "inf", "0x" + "f" * 40, "1979-05-27"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(inner, max_size=2).map(
            lambda items: (
                "{" + ", ".join(f"{key} = {item}" for key, item in zip(("when", "vllm"), items, strict=False)) + "}"
            )
        ),
    ),
    max_leaves=4,
)
_keys = st.sampled_from(
    ["mode", "unknown", "enabled", "count", "label", "override", "when", "vllm", "bad", "a.b.c", '""']
)


@given(
    tables=st.lists(
        st.tuples(
            st.sampled_from(
                ["patches", "patches.rotary-embedding", "patches.vision-seq-lens.override", "other", "a.b"]
            ),
            st.booleans(),
            st.lists(st.tuples(_keys, _values), max_size=3, unique_by=lambda pair: pair[0]),
        ),
        max_size=4,
    )
)
@FUZZED
def test_valid_toml_of_any_shape_is_settings_or_mistakes_with_lines(write: Callable[..., str], tables) -> None:  # type: ignore[no-untyped-def]
    text = ""
    for name, array, entries in tables:
        text += f"[[{name}]]\n" if array else f"[{name}]\n"
        text += "".join(f"{key} = {value}\n" for key, value in entries)
    file = write(text)
    found = outcome(file)
    if isinstance(found, SettingsError):
        for mistake in found.mistakes:
            line = mistake.removeprefix(file)
            assert line.startswith((", line ", ": not TOML", ": patches."))
