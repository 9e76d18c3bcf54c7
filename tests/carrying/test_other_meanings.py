"""Names that lead to something else on the release, or to nothing, and code alike that is not the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.made_releases import carried
from carrying.small_release import BEFORE, HELPERS, OTHER, RELEASE, RUNNER, edited, verdict_of


def grown(line: str) -> tuple[str, str]:
    return "return total", line


@pytest.mark.parametrize(
    ("addition", "there", "use"),
    [
        ("FACTOR = 2\n", "FACTOR = 3\n", "return total * helpers.FACTOR"),
        (
            "class Tool:\n    def run(self, x):\n        return x\n",
            "class Tool:\n    def run(self, x):\n        return x * 2\n",
            "return helpers.Tool().run(total)",
        ),
        ("def new(x):\n    return x\n", "def new(x):\n    return x * 2\n", "return helpers.new(total)"),
    ],
)
def test_a_newly_used_name_with_another_meaning_is_doubted(tmp_path: Path, addition: str, there: str, use: str) -> None:
    verdicts = [
        verdict_of(
            tmp_path / str(index),
            grown(use),
            release={HELPERS: f"{RELEASE[HELPERS]}\n\n{each}"},
            upstream={HELPERS: f"{RELEASE[HELPERS]}\n\n{addition}"},
        )
        for index, each in enumerate((addition, there))
    ]
    assert [verdict for verdict, _ in verdicts] == ["carried", "review"]
    assert "where the change was made" in verdicts[1][1]


def test_a_module_of_that_name_from_elsewhere_is_doubted(tmp_path: Path) -> None:
    release = {
        RUNNER: edited(BEFORE, ("from vllm_ascend import helpers", "from vllm import helpers")),
        "vllm/helpers.py": "def add(a, b):\n    return a\n\n\ndef both(a, b):\n    return b\n",
    }
    verdict, said = verdict_of(
        tmp_path, grown("return helpers.both(total, 1)[0]"), release=release, upstream={HELPERS: RELEASE[HELPERS]}
    )
    assert (verdict, "where the change was made" in said) == ("review", True)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("return getattr(self.config, 'absent') + total", "not carried"),
        ("return getattr(self.config, 'absent', 0) + total", "review"),
        ("return total if hasattr(self.config, 'absent') else 0", "review"),
        ("return tokens['absent_key'] + total", "review"),
        ("return torch.ops._C_ascend.known(total, extra=1)", "review"),
        ("return torch.ops._C_ascend.known(total, 1)", "review"),
        ("return torch_npu.npu_known(total, 1)", "review"),
        ("return torch_npu.npu_known(total)", "carried"),
        ("return getattr(self.config, 'size') + total", "carried"),
    ],
)
def test_what_is_asked_for_by_text_or_of_an_op_has_to_be_known(tmp_path: Path, line: str, verdict: str) -> None:
    ops = "import torch\nimport torch_npu\n\n\ndef go(x):\n    torch_npu.npu_known(x)\n"
    ops += "    return torch.ops._C_ascend.known(x)\n"
    found, said = verdict_of(tmp_path, grown(line), release={OTHER: ops})
    assert (found, bool(said)) == (verdict, verdict != "carried")


FIT = """\
class New:
    def fit(self, tokens, limit):
        missing = limit - len(tokens)
        filler = [0] * missing
        padded = tokens + filler
        done = padded[:limit]
        return done
"""
FITTED = edited(FIT, ("limit - len(tokens)", "max(0, limit - len(tokens))"))
LIKE = edited(FIT, ("class New", "class Old"))


@pytest.mark.parametrize("place", ["vllm_ascend/old.py", "vllm/old.py"])
def test_code_alike_that_upstream_has_as_well_or_that_is_another_packages_has_not_moved(
    tmp_path: Path, place: str
) -> None:
    upstream = {"vllm_ascend/old.py": LIKE} if place.startswith("vllm_ascend") else {}
    before, after = {"vllm_ascend/new.py": FIT, **upstream}, {"vllm_ascend/new.py": FITTED, **upstream}
    result = carried(tmp_path, {**RELEASE, place: LIKE}, before, after)
    assert result.verdict == "not carried"


def test_code_alike_in_the_same_file_has_not_moved(tmp_path: Path) -> None:
    path = "vllm_ascend/old.py"
    before, after = {path: f"{LIKE}\n\n{FIT}"}, {path: f"{LIKE}\n\n{FITTED}"}
    assert carried(tmp_path, {**RELEASE, path: LIKE}, before, after).verdict == "not carried"


def test_code_that_upstream_has_elsewhere_by_now_is_followed(tmp_path: Path) -> None:
    before, after = {"vllm_ascend/new.py": FIT}, {"vllm_ascend/new.py": FITTED}
    assert carried(tmp_path / "same", {**RELEASE, "vllm_ascend/old.py": FIT}, before, after).verdict == "carried"
    other_class = carried(tmp_path / "other", {**RELEASE, "vllm_ascend/old.py": LIKE}, before, after)
    assert other_class.verdict == "review"


FOUR = "".join(f"def f{each}(x):\n    y = x + {each}\n    return y\n\n\n" for each in range(1, 5))


def test_a_file_alike_that_upstream_has_as_well_is_another_one(tmp_path: Path) -> None:
    new, old = "vllm_ascend/new.py", "vllm_ascend/old.py"
    before = {new: FOUR, old: FOUR}
    after = {new: edited(FOUR, ("x + 1", "x + 9")), old: FOUR}
    assert carried(tmp_path, {**RELEASE, old: FOUR}, before, after).verdict == "not carried"


def test_a_statement_that_the_release_has_in_another_function_is_doubted(tmp_path: Path) -> None:
    halved = "total = total // 2 * 2"
    plan = f"        total = size\n        {halved}\n        return total\n"
    release = {RUNNER: edited(BEFORE, ("        return size\n", plan))}
    edit = ("        self.plan(total)\n", f"        {halved}\n        self.plan(total)\n")
    verdict, said = verdict_of(tmp_path, edit, release=release)
    assert (verdict, "in another function" in said) == ("review", True)


def test_a_statement_that_would_read_a_name_before_it_is_set_is_doubted(tmp_path: Path) -> None:
    first, second = "        count = len(tokens)\n", "        total = helpers.add(count, 1)\n        self.plan(total)\n"
    other = second.replace("add(count", "add(len(tokens)") + first
    release = {RUNNER: edited(BEFORE, (first + second, other))}
    verdict, _ = verdict_of(tmp_path, ("self.plan(total)", "self.plan(total + count)"), release=release)
    assert verdict in ("review", "not carried")


def test_a_star_import_brings_no_name_that_is_added_later(tmp_path: Path) -> None:
    user = "from vllm_ascend.runner import *\n\n\ndef go(x):\n    return x\n"
    before, added = {RUNNER: BEFORE, OTHER: user}, "\n\ndef fresh(x):\n    return x\n"
    after = {RUNNER: f"{BEFORE}{added}", OTHER: edited(user, ("return x", "return fresh(x)"))}
    result = carried(tmp_path, {**RELEASE, OTHER: user}, before, after)
    assert result.verdict in ("partly", "not carried")
    assert "a star import has not brought" in " ".join(each.reason for each in result.definitions)


def test_a_name_that_the_module_deletes_is_not_there(tmp_path: Path) -> None:
    base = f"{BEFORE}\n\nextra = 3\ndel extra\n"
    assert verdict_of(tmp_path, grown("return total + extra"), base=base)[0] == "not carried"


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        ("if vllm_version_is('0.18.0'):", "carried"),
        ("if vllm_version_is('0.20.0'):", "review"),
        ("if not vllm_version_is('0.18.0'):", "review"),
        ("if not vllm_version_is('0.20.0'):", "carried"),
    ],
)
def test_a_change_for_other_releases_of_vllm_only_does_nothing_here(
    tmp_path: Path, question: str, verdict: str
) -> None:
    base = f"from vllm_ascend.versions import vllm_version_is\n{BEFORE}"
    release = {"vllm_ascend/versions.py": "def vllm_version_is(version):\n    return version == '0.18.0'\n"}
    edit = grown(f"{question}\n            total += 1\n        return total")
    assert verdict_of(tmp_path, edit, base=base, release=release)[0] == verdict


@pytest.mark.parametrize(("there", "verdict"), [("'slow'", "carried"), ("'fast'", "review")])
def test_a_result_that_is_newly_compared_has_to_be_one_that_the_release_gives(
    tmp_path: Path, there: str, verdict: str
) -> None:
    """Both texts are on the release; which of them the function gives is another matter."""
    kinds = "class Kind:\n    def get_name(self):\n        return {}\n\n\nKINDS = ('fast', 'slow')\n"
    base = edited(BEFORE, ("return 5", "return self.config.kind.get_name() == 'fast'"))
    found, _ = verdict_of(
        tmp_path,
        ("== 'fast'", "== 'slow'"),
        base=base,
        release={"vllm_ascend/kinds.py": kinds.format(there)},
        upstream={"vllm_ascend/kinds.py": kinds.format("'slow'")},
    )
    assert found == verdict


def test_a_text_that_nothing_on_the_release_has_is_compared_in_vain(tmp_path: Path) -> None:
    assert verdict_of(tmp_path, grown("return total if tokens != 'unheard' else 0"))[0] == "review"


@pytest.mark.parametrize(("asks", "verdict"), [("current_platform", "carried"), ("torch.cuda", "review")])
def test_what_is_newly_used_of_vllm_may_ask_cuda(tmp_path: Path, asks: str, verdict: str) -> None:
    snapshot = "import torch\nfrom vllm.platforms import current_platform\n\n\nclass Snapshot:\n"
    snapshot += f"    def __init__(self):\n        self.free = {asks}.mem_get_info()\n"
    edits = (
        ("from vllm_ascend import helpers", "from vllm_ascend import helpers\nfrom vllm.memory import Snapshot"),
        grown("return total + Snapshot().free"),
    )
    release = {"vllm/memory.py": snapshot, "vllm/platforms.py": "current_platform = None\n"}
    assert verdict_of(tmp_path, *edits, release=release)[0] == verdict
