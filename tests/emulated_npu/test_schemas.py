from __future__ import annotations

import json

import pytest
import torch

from emulated_npu import _schemas

REQUIRED = ["2.5.1", "2.5.1.post1", "2.7.1", "2.9.0", "2.11.0", "2.13.0", "2.14.0"]


def test_the_releases_are_listed_from_the_oldest_to_the_newest():
    assert list(_schemas.RELEASES) == REQUIRED


def test_the_newest_release_is_the_default():
    assert _schemas.NEWEST == "2.14.0"


@pytest.mark.parametrize("release", REQUIRED)
def test_every_schema_can_be_parsed_and_is_filed_under_its_own_name(release):
    for op, text in _schemas.schemas(release).items():
        namespace, name = op.split("::")
        parsed = torch._C.parse_schema(f"{namespace}::{text}")
        overload = f".{parsed.overload_name}" if parsed.overload_name else ""
        assert f"{parsed.name}{overload}" == f"{namespace}::{name}"


@pytest.mark.parametrize(
    ("op", "before", "since", "argument"),
    [
        ("npu::npu_rotary_mul", "2.9.0", "2.11.0", "rotate"),
        ("npu::npu_apply_rotary_pos_emb", "2.5.1.post1", "2.7.1", "rotary_mode"),
        ("npu::npu_kv_rmsnorm_rope_cache", "2.7.1", "2.9.0", "v"),
        ("npu::npu_format_cast", "2.5.1.post1", "2.7.1", "customize_dtype"),
        ("npu::npu_fusion_attention", "2.9.0", "2.11.0", "dropout_mask"),
        ("npu::npu_mrope", "2.9.0", "2.11.0", "cache_mode"),
        ("atb::_npu_paged_attention", "2.5.1.post1", "2.7.1", "workspace"),
    ],
)
def test_an_argument_is_there_from_the_release_that_added_it(op, before, since, argument):
    names = {
        release: [each.name for each in torch._C.parse_schema(f"{op[:3]}::{_schemas.schemas(release)[op]}").arguments]
        for release in (before, since)
    }
    assert (argument in names[before], argument in names[since]) == (False, True)


def test_the_layout_default_of_apply_rotary_pos_emb_changes_at_2_11():
    op = "npu::npu_apply_rotary_pos_emb"
    assert "layout='BSH'" in _schemas.schemas("2.9.0")[op]
    assert "layout='BSND'" in _schemas.schemas("2.11.0")[op]


@pytest.mark.parametrize("release", REQUIRED)
def test_flash_attention_unpad_is_the_same_in_every_release(release):
    op = "atb::_npu_flash_attention_unpad"
    assert _schemas.schemas(release)[op] == _schemas.schemas(_schemas.NEWEST)[op]


def test_an_unknown_release_is_refused_with_the_known_ones_and_the_file():
    with pytest.raises(_schemas.UnknownReleaseError, match=r"'9\.9\.9'.*2\.13\.0.*schemas\.json"):
        _schemas.schemas("9.9.9")


def test_releases_compare_by_their_order():
    assert _schemas.at_least("2.9.0", "2.7.1")
    assert _schemas.at_least("2.9.0", "2.9.0")
    assert not _schemas.at_least("2.5.1", "2.5.1.post1")


def test_the_schemas_of_a_release_cannot_be_changed():
    with pytest.raises(TypeError):
        _schemas.schemas("2.13.0")["npu::npu_prefetch"] = ""  # type: ignore[index]


def test_the_file_is_sorted_so_that_a_difference_is_readable():
    content = json.loads(_schemas.FILE.read_text(encoding="utf-8"))
    assert all(list(ops) == sorted(ops) for ops in content.values())


def test_every_schema_has_a_reference_implementation():
    from emulated_npu._ops import _registration
    from emulated_npu._ops._reference import REFERENCES

    assert _registration
    named = {op for release in REQUIRED for op in _schemas.schemas(release)}
    assert named == set(REFERENCES)
