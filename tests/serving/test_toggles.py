"""Every switch, over a whole engine: off, one patch alone, and all but one."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving.served_engines import SERVING, Engines, Seen
from serving.serving_site import Site

pytestmark = [pytest.mark.engine, pytest.mark.long]


def test_switched_off_the_toolkit_is_not_even_imported(
    engines: Engines, with_hook: Site, unpatched: Seen, tmp_path: Path
) -> None:
    seen = engines.script(with_hook, tmp_path, ASCEND_PATCHES="off")
    assert (seen.reports, seen.complaints, "ascend_patches.process.toolkit" in seen.modules) == ([], [], False)
    assert seen.tokens == unpatched.tokens


@pytest.mark.parametrize("alone", SERVING)
def test_one_patch_alone_is_on_and_the_answers_stay(
    alone: str, engines: Engines, with_plugin: Site, unpatched: Seen, tmp_path: Path
) -> None:
    wish = {"ASCEND_PATCHES_DISABLE": "all", "ASCEND_PATCHES_ENABLE": alone}
    seen = engines.script(with_plugin, tmp_path, one_process=True, **wish)
    assert seen.applied() == [{alone}]
    assert seen.tokens == unpatched.tokens


@pytest.mark.parametrize("missing", SERVING)
def test_all_but_one_patch_are_on_and_the_answers_stay(
    missing: str, engines: Engines, with_plugin: Site, unpatched: Seen, tmp_path: Path
) -> None:
    seen = engines.script(with_plugin, tmp_path, one_process=True, ASCEND_PATCHES_DISABLE=missing)
    (applied,) = seen.applied()
    assert (missing in applied, applied >= set(SERVING) - {missing}) == (False, True)
    assert seen.tokens == unpatched.tokens
