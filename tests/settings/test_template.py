"""The settings file to start from: it says what is declared, and it reads back as just that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support import REPOSITORY

from ascend_patches.declaring.gates import always
from ascend_patches.declaring.patch import Option, Patch, Rewrite, Variant
from ascend_patches.patches import PATCHES
from ascend_patches.settings import reader, template
from ascend_patches.upstream.environment import Environment

VARIANTS = (Variant("v", always, (Rewrite("vllm:run", print),)),)
WORDY = Patch(
    "wordy",
    "Says a lot.",
    VARIANTS,
    why="A reason that takes\nmore than a line, " + "and then goes on and on " * 10,
    upstream=("https://example.org/pull/1", "https://example.org/pull/2"),
    default=False,
    options={
        "size": Option(4, "How large\nit is."),
        "kernel": Option("as-upstream", "Which one.", ("as-upstream",), int),
    },
)
QUIET = Patch("quiet", "Says little.", VARIANTS)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on top of the file."""
    for name in [name for name in os.environ if name.startswith("ASCEND_PATCHES")]:
        monkeypatch.delenv(name)


def reads_back_as_declared(patches: list[Patch], file: Path) -> bool:
    """Whether a template, used as it is, changes nothing."""
    file.write_text(template.settings_file(patches), encoding="utf-8")
    file.chmod(0o644)
    loaded = reader.load({patch.name: patch for patch in patches}, file)
    declared = [reader.Settings().choice(patch, Environment({})) for patch in patches]
    read = [loaded.choice(patch, Environment({})) for patch in patches]
    assert {patch.name: dict(loaded.patches[patch.name].values) for patch in patches} == {
        patch.name: {"enabled": patch.default, **{name: option.default for name, option in patch.options.items()}}
        for patch in patches
    }
    return loaded.mode == "on" and [(one.enabled, one.options, one.unknown) for one in declared] == [
        (one.enabled, one.options, one.unknown) for one in read
    ]


def test_it_reads_back_as_the_declared_defaults(tmp_path: Path) -> None:
    assert reads_back_as_declared([WORDY, QUIET], tmp_path / "patches.toml")


def test_without_patches_it_is_a_settings_file_still(tmp_path: Path) -> None:
    assert reads_back_as_declared([], tmp_path / "patches.toml")


def test_it_says_what_a_patch_is_for_and_what_its_options_mean() -> None:
    text = template.settings_file([WORDY, QUIET])
    for line in (
        "# Says a lot.",
        "# Upstream: https://example.org/pull/2",
        "[patches.wordy]\nenabled = false",
        "# How large it is. (an integer)\nsize = 4",
        "# Which one. (one of 'as-upstream' or an integer)\nkernel = \"as-upstream\"",
        "# Says little.\n[patches.quiet]\nenabled = true\n",
    ):
        assert line in text
    assert "# Why: A reason that takes more than a line, and then" in text
    assert max(map(len, text.splitlines())) <= 120


@given(
    default=st.one_of(
        st.booleans(),
        st.integers(-(2**63) + 1, 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    meaning=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
)
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_default_reads_back(tmp_path: Path, default: bool | int | float | str, meaning: str) -> None:
    patch = Patch("any", "Has an option.", VARIANTS, options={"option": Option(default, meaning)})
    assert reads_back_as_declared([patch], tmp_path / "patches.toml")


def test_the_file_that_ships_lists_every_patch_as_it_is_declared() -> None:
    assert (REPOSITORY / "patches.toml").read_text(encoding="utf-8") == template.settings_file(PATCHES)
