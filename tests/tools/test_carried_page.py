"""The page of verdicts: counted, and searchable by number."""

from __future__ import annotations

from carried_changes.page import Verdict, written


def verdict(number: str, said: str, where: str = "main", subject: str = "Mend a|b <c>") -> Verdict:
    return Verdict(
        number=number, commit="0123456789", subject=subject, where=where, verdict=said, definitions={"exact": 1}
    )


def test_a_change_is_found_by_its_number() -> None:
    page = written({"0.18.0": [verdict("10302", "carried", "branch"), verdict("7", "review")]})
    assert "| #10302 | carried (its own branch) | - | - | 0123456789 | Mend a/b &lt;c> |" in page
    assert "| #7 | review | - | - | 0123456789 | Mend a/b &lt;c> |" in page


def test_verdicts_are_counted_by_release_and_by_where_a_change_landed() -> None:
    page = written({"0.18.0": [verdict("1", "carried"), verdict("2", "carried"), verdict("3", "partly", "branch")]})
    assert "| 0.18.0, main | 2 | 2 | 0 | 0 | 0 | 0 | 0 |" in page
    assert "| 0.18.0, branch | 1 | 0 | 0 | 0 | 1 | 0 | 0 |" in page


def test_what_goes_after_others_and_what_is_proved_by_its_own_tests_are_counted_apart() -> None:
    proved, named, after = verdict("1", "carried"), verdict("2", "carried"), verdict("3", "partly")
    proved["tests"] = {"shown": "proved", "mended": 3, "only_names": 0}
    named["tests"] = {"shown": "only names missing before", "mended": 0, "only_names": 2}
    after["prerequisites"] = ["abcdef0123"]
    page = written({"0.18.0": [proved, named, after]})
    assert "| all, main | 3 | 2 | 0 | 0 | 1 | 0 | 0 | 1 | 0 | 0 | 1 | 1 |" in page
    assert "| #1 | carried | - | 3 mended |" in page
    assert "| #2 | carried | - | only names |" in page
    assert "| #3 | partly, after 1 more: abcdef0123 | - | - |" in page


def test_what_is_in_place_is_counted_and_what_is_not_is_explained_below_the_table() -> None:
    there, unimportable, wrong = (verdict(number, "carried") for number in "123")
    there["in_place"] = "yes"
    unimportable["in_place"] = "the release itself cannot import vllm_ascend.a: ImportError: no B"
    wrong["in_place"] = "left behind: vllm_ascend.a:b"
    page = written({"0.18.0": [there, unimportable, wrong]})
    assert "| all, main | 3 | 3 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 1 | 0 | 0 |" in page
    assert ["| #1 | carried | yes |" in page, "| #2 | carried | cannot be imported |" in page] == [True, True]
    assert "Not in place: 0123456789: the release itself cannot import vllm_ascend.a: ImportError: no B" in page
    assert "Not in place: 0123456789: left behind: vllm_ascend.a:b" in page


def test_a_subject_is_no_link() -> None:
    page = written({"0.18.0": [verdict("7", "review", subject="[bugfix](cp) mend it")]})
    assert "| [bugfix]\\(cp) mend it |" in page
