"""What ``ascend-patches verify`` makes of what it found."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from ascend_patches.commands import verify

SIDE = {"refused": "", "error": 2e-3, "copies": 1, "waits": 2, "kernels": 7, "dispatches": 14, "milliseconds": None}


def found(**more: Any) -> dict[str, Any]:
    case = {
        "patch": "some-patch",
        "case": "one row",
        "dtype": "bfloat16",
        "expected": "bitwise",
        "bitwise": True,
        "problem": "",
        "original": SIDE,
        "patched": {**SIDE, "copies": 0, "waits": 1, "kernels": 6, "dispatches": 11},
    }
    patch = {"name": "some-patch", "state": "applied", "reason": "", "variant": "1.x", "checks": True}
    return {
        "device": {"name": "emulated NPU", "emulated": True, "torch_npu": "2.9.0"},
        "versions": {"vllm": "0.18.0", "torch": "2.13.0"},
        "problems": [],
        "mode": "on",
        "model": None,
        "seconds": 3.2,
        "patches": [patch | more.pop("patch", {})],
        "cases": [case | more.pop("case", {})],
        **more,
    }


def lines(data: dict[str, Any], *names: str) -> list[str]:
    data["differences"] = verify.differences(data, names)
    return list("\n".join(verify._lines(data)).splitlines())


def test_a_case_is_one_line_with_error_and_costs_of_both_sides() -> None:
    said = lines(found())
    (line,) = (line for line in said if line.startswith("one row"))
    assert line.split() == [
        "one",
        "row",
        "same,",
        "2e-03",
        "1",
        "->",
        "0",
        "2",
        "->",
        "1",
        "7",
        "->",
        "6",
        "14",
        "->",
        "11",
    ]
    assert said[-1] == "no difference; 1 cases, 3 s"


def test_a_difference_is_marked_and_said_at_the_end() -> None:
    said = lines(found(case={"bitwise": False, "problem": "not the bits of upstream: off by 0.5"}))
    assert any(line.startswith("one row") and line.endswith("DIFFERENT") for line in said)
    assert "DIFFERENT: some-patch: one row, bfloat16: not the bits of upstream: off by 0.5" in said
    assert said[-1].startswith("1 differences")


@pytest.mark.parametrize(
    ("patch", "names", "words"),
    [
        ({"state": "failed", "reason": "it broke"}, (), "some-patch is failed and was not verified: it broke"),
        ({"state": "skipped", "reason": "not here"}, ("some-patch",), "some-patch is skipped and was not verified"),
        ({"checks": False}, (), "some-patch is applied and declares no checks"),
    ],
)
def test_a_patch_of_which_nothing_is_known_is_a_difference(
    patch: dict[str, Any], names: tuple[str, ...], words: str
) -> None:
    assert words in verify.differences(found(patch=patch), names)[0]


def test_a_patch_that_is_off_is_none_unless_it_was_named() -> None:
    assert verify.differences(found(patch={"state": "skipped", "reason": "switched off"}), ()) == []


def test_times_are_shown_where_there_are_some() -> None:
    timed = found(case={"original": {**SIDE, "milliseconds": 1.5}, "patched": {**SIDE, "milliseconds": 1.25}})
    assert any("1.500 -> 1.250" in line for line in lines(timed))


def test_nothing_verified_is_not_fine() -> None:
    nothing = found() | {"cases": [], "patches": []}
    assert verify.differences(nothing, ()) == [
        "nothing was verified: no patch with a case for this release is on (mode on)"
    ]


def test_a_patch_that_is_applied_and_has_no_case_here_is_named() -> None:
    data = found()
    data["patches"].append({"name": "other", "state": "applied", "reason": "", "variant": "all", "checks": True})
    assert "other: applied; its checks have no case for this release" in lines(data)


def test_who_asks_for_one_patch_hears_of_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = found(patch={"name": "rotary-embedding"}, case={"patch": "rotary-embedding"})
    off = {"state": "skipped", "reason": "switched off by ASCEND_PATCHES_DISABLE", "variant": None, "checks": True}
    data["patches"] += [{"name": name, **off} for name in ("mm-encoder-attention", "qwen3-vl-vision")]
    monkeypatch.setattr(verify, "_in_a_process", lambda arguments: data)
    asked = argparse.Namespace(names=["rotary-embedding"], model=None, report=None, json=False)
    assert verify.verify(asked) == 0
    said = capsys.readouterr().out
    assert "rotary-embedding" in said
    assert [word for word in ("mm-encoder-attention", "qwen3-vl-vision", "DISABLE") if word in said] == []
