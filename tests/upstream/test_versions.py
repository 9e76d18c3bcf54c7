"""The policy by which versions are compared, as a table, and ranges as sets of versions."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from ascend_patches.declaring.gates import version_in, vllm_version_is
from ascend_patches.errors import VersionError
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.versions import parse, parse_range

IS_0_15_0 = {
    "0.15.0": True,
    "0.15": True,
    "v0.15.0": True,
    "0.15.0+cpu": True,
    "0.15.0+empty": True,
    "0.15.0rc1": True,
    "0.15.0rc1+cpu": True,
    "0.15.0.post1": True,
    "0.15.0.dev7+g1234": True,
    "0.15.1": False,
    "0.15.1.dev3+g1234": False,
    "0.14.0": False,
    "1!0.15.0": False,
    "dev": None,
    "": None,
    None: None,
}


@pytest.mark.parametrize(("installed", "expected"), IS_0_15_0.items())
def test_vllm_version_is_speaks_of_a_release_whatever_its_build(installed: str | None, expected: bool | None) -> None:
    assert vllm_version_is("0.15.0").judge(Environment({"vllm": installed})).holds is expected


def test_what_is_not_installed_is_no_version_at_all() -> None:
    for versions in ("==0.15.0", "!=0.15.0", ">=0"):
        assert version_in("vllm", versions).judge(Environment({})).holds is False


ADMITTED = [
    ("0.12.0rc1", "<0.12", False),
    ("0.12.0rc1", ">=0.12", True),
    ("0.12.0rc1", ">0.12", False),
    ("0.12.0rc1", "!=0.12.0", False),
    ("0.12.0.post1", ">0.12", False),
    ("0.12.0.post1", "<=0.12", True),
    ("0.12.0+cpu", ">0.12.0", False),
    ("0.12.1", ">0.12", True),
    ("0.16.0.dev1", ">=0.15,<0.16", False),
    ("0.15.9", ">=0.15,<0.16", True),
    # What the range names, it means.
    ("0.15.0rc1", "==0.15.0rc1", True),
    ("0.15.0rc1+cpu", "==0.15.0rc1", True),
    ("0.15.0rc2", "==0.15.0rc1", False),
    ("0.15.0", "==0.15.0rc1", False),
    ("0.15.0", ">=0.15.0rc1", True),
    ("0.15.0.dev3", ">=0.15.0rc1", False),
    ("0.15.0rc1", "<0.15.0rc2", True),
    ("0.15.0", "==0.15.0.post1", False),
    ("0.15.0.post1", ">=0.15.0.post1", True),
    ("0.15.1.dev3+g1234", "==0.15.1.dev3", True),
    ("0.15.0+empty", "==0.15.0+empty", True),
    ("0.15.0", "==0.15.0+empty", False),
    ("0.15.0+cpu", "!=0.15.0+empty", True),
    # Prefixes.
    ("0.15.3rc1", "==0.15.*", True),
    ("0.15", "==0.15.0.*", True),
    ("0.16.0", "==0.15.*", False),
    ("0.16.0", "!=0.15.*", True),
    ("1!0.15.0", "==0.15.*", False),
    ("0.15.0", "0.15.0", True),
    ("v0.15.0", "== v0.15 ", True),
]


@pytest.mark.parametrize(("installed", "versions", "expected"), ADMITTED)
def test_ranges_compare_releases_unless_they_name_more(installed: str, versions: str, expected: bool) -> None:
    assert parse_range(versions).admits(Version(installed)) is expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not a comparison"),
        ("0.15,", "not a comparison"),
        ("~=0.15", "not a comparison"),
        ("=0.15", "not a comparison"),
        (">=0.15 <0.16", "not a comparison"),
        ("0.15 or later", "not a comparison"),
        (">=new", "'new' is not a version"),
        ("==" + "9" * 10_000, "is not a version"),
        (">=0.15.*", "'.*' goes with == and != only"),
        ("==0.15rc1.*", "'.*' follows release numbers only"),
        ("==0.15+cpu.*", "'.*' follows release numbers only"),
        (">=0.15+cpu", "'+cpu' goes with == and != only"),
    ],
)
def test_what_cannot_be_read_as_a_range_is_refused_with_the_reason(text: str, what: str) -> None:
    with pytest.raises(VersionError, match="is not a range of versions") as refused:
        parse_range(text)
    assert what in str(refused.value)


@pytest.mark.parametrize("text", [None, "", "dev", "main", "0.15.x", "9" * 10_000])
def test_what_is_no_version_is_unknown(text: str | None) -> None:
    assert parse(text) is None


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_a_version_error(text: str) -> None:
    with suppress(VersionError):
        assert parse_range(text).clauses


# Every version that the ranges below could tell apart, bounds and what lies right beside them included.
_RELEASES = ["0", "0.0.0.0.1", "1", "1.0.0.0.1", "1.1", "1.1.0.0.1", "1.2", "2", "2.0.1", "2.1", "3"]
_SUFFIXES = [
    ".dev0", ".dev1", ".dev2", "rc1.dev0", "rc1", "rc1.post0.dev0", "rc2", "rc2.post0.dev0",
    "", "+a", ".post1.dev0", ".post1", ".post1+a", ".post2.dev0", ".post2", ".post3.dev0",
]  # fmt: skip
GRID = [Version(release + suffix) for release, suffix in product(_RELEASES, _SUFFIXES)]

_bounds = st.builds(
    str.__add__,
    st.sampled_from(["1", "1.0", "1.1", "2", "2.0.0"]),
    st.sampled_from(["", "", "", ".dev1", "rc1", "rc2", ".post1", ".post2"]),
)
_comparisons = st.one_of(
    st.builds(str.__add__, st.sampled_from(["==", "!=", ">=", "<=", ">", "<"]), _bounds),
    st.sampled_from(["==1.*", "!=1.*", "==1.1.*", "!=1.1.*", "==1+a", "!=1+a", "==1.post1+a"]),
)
_ranges = st.lists(_comparisons, min_size=1, max_size=3).map(",".join).map(parse_range)


@given(_ranges, _ranges)
@settings(max_examples=120, deadline=None)
def test_two_ranges_meet_exactly_if_some_version_lies_in_both(one, other) -> None:  # type: ignore[no-untyped-def]
    assert one.meets(other) is any(one.admits(version) and other.admits(version) for version in GRID)
    assert other.meets(one) is one.meets(other)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (">=0.15,<0.16", ">=0.16", False),
        (">=0.15,<0.16", "<=0.15", True),
        (">0.15", "<0.15.1", True),
        (">0.15.0rc1", "<0.15.0rc3", True),
        (">0.15.0.dev3", "<0.15.0.dev4", False),
        ("==0.15.*", "!=0.15.*", False),
        ("==0.15.0+cpu", "==0.15.0+empty", False),
        ("<0.15", "<0.14", True),
        ("<0", "<1", False),
        ("!=0.15", "!=0.16", True),
    ],
)
def test_ranges_that_meet(one: str, other: str, meet: bool) -> None:
    assert parse_range(one).meets(parse_range(other)) is meet
