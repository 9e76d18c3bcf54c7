"""Changes that merge and are wrong: none of them may be called carried."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.made_releases import carried, change, code

from ascend_patches.carrying import onto

RUNNER = "vllm_ascend/runner.py"
BEFORE = """
    import torch_npu
    from vllm.config import Config
    from vllm_ascend import helpers


    class Base:
        def plan(self, size):
            return size


    class Runner(Base):
        def __init__(self, config: Config):
            self.config = config

        def step(self, tokens):
            count = len(tokens)
            total = helpers.add(count, 1)
            self.plan(total)
            return total
"""
RELEASE = {
    RUNNER: BEFORE,
    "vllm/config.py": "class Config:\n    def __init__(self):\n        self.size = 1\n",
    "vllm_ascend/helpers.py": """
        def add(first, second):
            return first + second

        def both(first, second):
            return first, second

        def other(config):
            config.elsewhere = torch_npu.npu_known(1)
            return config.elsewhere.size()
    """,
}


def of(folder: Path, *edits: tuple[str, str], release: dict[str, str] | None = None) -> tuple[str, str]:
    """The verdict of a change that makes the edits, and all that is said for it."""
    after = BEFORE
    for old, new in edits:
        assert old in after
        after = after.replace(old, new)
    result = carried(folder, {**RELEASE, **(release or {})}, {RUNNER: BEFORE}, {RUNNER: after})
    return result.verdict, " ".join(str(each.as_json()["reason"]) for each in result.definitions)


@pytest.mark.parametrize(
    ("line", "lacking"),
    [
        ("total += self.config.missing", "missing"),
        ("total += self.missing", "missing"),
        ("total += helpers.missing(1)", "missing"),
        ("total += missing(1)", "missing"),
        ("total += tokens.frobnicate()", "frobnicate"),
        ("total += torch_npu.npu_unknown(total)", "npu_unknown"),
        ("total += helpers.add(count, third=2)", "third"),
        ("total += helpers.add(count)", "second"),
        ("total, _, _ = helpers.both(count, 1)", "returns 2"),
        ("self.plan(total, deep=True)", "deep"),
        ("from vllm_ascend.helpers import missing", "missing"),
        ("import vllm_ascend.missing", "missing"),
    ],
)
def test_what_the_release_lacks_stops_a_change_that_fits_exactly(tmp_path: Path, line: str, lacking: str) -> None:
    verdict, said = of(tmp_path, ("return total", f"{line}\n            return total"))
    assert verdict in ("not carried", "review")
    assert lacking in said


def test_an_attribute_that_only_another_class_has_does_not_count(tmp_path: Path) -> None:
    verdict, said = of(
        tmp_path,
        ("count = len(tokens)", "count = len(tokens) + self.config.limit"),
        release={
            "vllm_ascend/other.py": "class Other:\n    def __init__(self):\n        self.limit = 1\n",
        },
    )
    assert (verdict, "has no limit" in said) == ("not carried", True)


def test_a_statement_that_the_release_has_earlier_is_not_put_in_twice(tmp_path: Path) -> None:
    mended = BEFORE.replace("count = len(tokens)", "tokens = tokens[1:]\n            count = len(tokens)")
    verdict, said = of(
        tmp_path,
        ("self.plan(total)", "tokens = tokens[1:]\n            self.plan(total)"),
        release={RUNNER: mended},
    )
    assert (verdict, "there already" in said) == ("review", True)


def test_a_move_of_what_the_release_never_had_is_no_merge(tmp_path: Path) -> None:
    base = BEFORE.replace("count = len(tokens)", "assert tokens\n            count = len(tokens)")
    after = BEFORE.replace("return total", "assert tokens\n            return total")
    result = carried(tmp_path, RELEASE, {RUNNER: base}, {RUNNER: after})
    assert result.verdict in ("review", "not carried")


def test_a_deletion_of_what_the_release_never_had_is_already_there(tmp_path: Path) -> None:
    base = BEFORE.replace("count = len(tokens)", "assert tokens\n            count = len(tokens)")
    assert carried(tmp_path, RELEASE, {RUNNER: base}, {RUNNER: BEFORE}).verdict == "already there"


def test_a_change_of_layout_alone_is_no_change(tmp_path: Path) -> None:
    after = BEFORE.replace("helpers.add(count, 1)", "helpers.add(\n                count, 1\n            )")
    result = carried(tmp_path, RELEASE, {RUNNER: BEFORE}, {RUNNER: after})
    assert (result.definitions, result.verdict) == ([], "not carried")


def test_a_name_that_is_bound_under_an_if_is_doubted(tmp_path: Path) -> None:
    verdict, said = of(
        tmp_path,
        ("return total", "return extra(total)"),
        release={RUNNER: BEFORE + "\n\n    if Config is None:\n        extra = len\n"},
    )
    assert (verdict, "bound there only under" in said) == ("review", True)


def test_a_name_for_type_checkers_is_not_there(tmp_path: Path) -> None:
    typed = BEFORE + "\n\n    if TYPE_CHECKING:\n        from vllm_ascend.helpers import both\n"
    verdict, said = of(tmp_path, ("return total", "return both(total, 1)"), release={RUNNER: typed})
    assert (verdict, "type checkers only" in said) == ("not carried", True)


def test_a_local_name_that_the_release_computes_otherwise_is_doubted(tmp_path: Path) -> None:
    other = BEFORE.replace("count = len(tokens)", "count = len(tokens) * 2")
    verdict, said = of(tmp_path, ("return total", "return total + count"), release={RUNNER: other})
    assert (verdict, "computes in another way" in said) == ("review", True)


def test_an_override_with_the_old_parameters_is_doubted(tmp_path: Path) -> None:
    child = (
        "from vllm_ascend.runner import Runner\n\n\nclass Child(Runner):\n    def step(self, tokens):\n        pass\n"
    )
    verdict, said = of(
        tmp_path, ("def step(self, tokens)", "def step(self, tokens, deep)"), release={"vllm_ascend/child.py": child}
    )
    assert (verdict, "Child.step" in said) == ("review", True)


def test_a_caller_that_the_change_does_not_touch_is_doubted(tmp_path: Path) -> None:
    caller = "from vllm_ascend.runner import Runner\n\n\ndef go(runner: Runner):\n    return runner.step([1])\n"
    verdict, said = of(
        tmp_path, ("def step(self, tokens)", "def step(self, tokens, deep)"), release={"vllm_ascend/go.py": caller}
    )
    assert (verdict, "vllm_ascend.go:go" in said) == ("review", True)


def test_an_attribute_that_is_no_longer_set_and_still_read_is_doubted(tmp_path: Path) -> None:
    reader = "def go(runner):\n    return runner.config\n"
    verdict, said = of(
        tmp_path, ("self.config = config", "self.setting = config"), release={"vllm_ascend/go.py": reader}
    )
    assert (verdict, "still reads" in said) == ("review", True)


def test_an_addition_that_nothing_uses_is_doubted(tmp_path: Path) -> None:
    verdict, said = of(tmp_path, ("class Base:", "def unused():\n        return 1\n\n\n    class Base:"))
    assert (verdict, "nothing on the release uses" in said) == ("review", True)


def test_taking_an_override_away_is_refused(tmp_path: Path) -> None:
    with_override = BEFORE + "\n        def plan(self, size):\n            return size * 2\n"
    result = carried(tmp_path, {**RELEASE, RUNNER: with_override}, {RUNNER: with_override}, {RUNNER: BEFORE})
    assert (result.verdict, "override" in result.definitions[0].reason) == ("not carried", True)


def test_a_statement_in_a_block_that_the_release_enters_on_another_condition_is_doubted(tmp_path: Path) -> None:
    base = BEFORE.replace("self.plan(total)", "if total:\n                self.plan(total)")
    after = base.replace("self.plan(total)", "self.plan(total)\n                total += 1")
    release = base.replace("if total:", "if total and self.config:")
    result = carried(tmp_path, {**RELEASE, RUNNER: release}, {RUNNER: base}, {RUNNER: after})
    assert (result.verdict, "in another block" in " ".join(result.doubts)) == ("review", True)


def test_a_function_that_is_newly_called_and_was_another_one_upstream_is_doubted(tmp_path: Path) -> None:
    upstream = {
        RUNNER: BEFORE,
        "vllm_ascend/helpers.py": RELEASE["vllm_ascend/helpers.py"].replace(
            "return first, second", "return second, first"
        ),
    }
    after = {**upstream, RUNNER: BEFORE.replace("return total", "return helpers.both(total, 1)[0]")}
    result = onto.carry(change(upstream, after), code(tmp_path, RELEASE))
    assert result.verdict == "review"
    assert "was another function where the change was made" in " ".join(result.doubts)


def test_what_makes_an_instance_with_the_old_arguments_is_doubted_and_another_class_is_not(tmp_path: Path) -> None:
    others = "from vllm_ascend.runner import Runner\n\n\nclass Other(dict):\n"
    others += "    def __init__(self):\n        super().__init__(1)\n"
    change = ("def __init__(self, config: Config):", "def __init__(self, config: Config, depth):")
    verdict, _ = of(tmp_path / "no", change, release={"vllm_ascend/other.py": others})
    assert verdict == "carried"
    makes = f"{others}\n\ndef make(config):\n    return Runner(config)\n"
    verdict, said = of(tmp_path / "yes", change, release={"vllm_ascend/other.py": makes})
    assert (verdict, "vllm_ascend.other:make" in said) == ("review", True)


def test_an_attribute_that_another_class_reads_of_itself_is_not_the_one_that_is_no_longer_set(tmp_path: Path) -> None:
    other = "class Other:\n    def __init__(self):\n        self.config = 1\n\n"
    other += "    def go(self):\n        return self.config\n"
    verdict, _ = of(
        tmp_path, ("self.config = config", "self.setting = config"), release={"vllm_ascend/other.py": other}
    )
    assert verdict == "carried"


STARTS = "vllm_ascend/patch/worker/__init__.py"
OTHER = "import vllm_ascend.patch.worker.patch_other\n"
HELPS = {"vllm_ascend/patch/worker/patch_help.py": "HELP = 1\n", "vllm_ascend/patch/worker/patch_other.py": ""}


@pytest.mark.parametrize(
    "runs",
    [
        "import vllm_ascend.patch.worker.patch_help\n",
        "from vllm_ascend.patch.worker import patch_help\n",
        "from . import patch_help\n",
        "from vllm_ascend.patch.worker.patch_help import HELP\n",
    ],
)
@pytest.mark.parametrize("added", [True, False])
def test_an_import_for_what_its_module_does_cannot_be_left_out(tmp_path: Path, runs: str, added: bool) -> None:
    """Another definition of the change is carried, and without the import it would mend nothing."""
    more, fewer = OTHER + runs, OTHER
    old, new = (fewer, more) if added else (more, fewer)
    result = carried(
        tmp_path,
        {**RELEASE, **HELPS, STARTS: old},
        {RUNNER: BEFORE, STARTS: old},
        {RUNNER: BEFORE.replace("total = helpers.add(count, 1)", "total = helpers.add(count, 2)"), STARTS: new},
    )
    assert result.verdict == "partly"
    (import_,) = (each for each in result.definitions if each.file == STARTS)
    assert import_.verdict == "cannot"
    assert "vllm_ascend.patch.worker.patch_help" in import_.reason


def test_an_import_that_only_others_would_use_is_left_out(tmp_path: Path) -> None:
    package = "vllm_ascend/tools/__init__.py"
    result = carried(
        tmp_path,
        {**RELEASE, package: "", "vllm_ascend/tools/one.py": "class One:\n    pass\n"},
        {RUNNER: BEFORE, package: ""},
        {RUNNER: BEFORE.replace("len(tokens)", "len(tokens) + 1"), package: "from vllm_ascend.tools.one import One\n"},
    )
    assert result.verdict == "carried"
    assert [each.path for each in result.left_out] == ["vllm_ascend.tools:import One"]


@pytest.mark.parametrize(
    ("given_back", "verdict"),
    [
        ("    def instance():\n        return kind()\n    return instance\n", "not carried"),
        ("    return kind\n", "carried"),
    ],
)
def test_a_class_that_its_decorator_hides_cannot_be_reached(tmp_path: Path, given_back: str, verdict: str) -> None:
    before = BEFORE.replace(
        "    class Runner", "    from vllm_ascend.utils import once\n\n\n    @once\n    class Runner"
    )
    after = before.replace("total = helpers.add(count, 1)", "total = helpers.add(count, 2)")
    release = {**RELEASE, RUNNER: before, "vllm_ascend/utils.py": f"def once(kind):\n{given_back}"}
    result = carried(tmp_path, release, {RUNNER: before}, {RUNNER: after})
    assert result.verdict == verdict
    reasons = [each.reason for each in result.definitions if each.verdict == "cannot"]
    assert reasons == (["@once puts something that is no class in place of Runner"] if verdict != "carried" else [])


@pytest.mark.parametrize(
    ("base", "verdict"), [("BaseModelLoader", "carried"), ("OtherBaseModel", "not carried"), ("IntEnum", "not carried")]
)
def test_only_a_class_that_reads_its_fields_when_it_is_made_cannot_be_given_another_value(
    tmp_path: Path, base: str, verdict: str
) -> None:
    before = BEFORE.replace("class Runner(Base):", f"class Runner({base}):\n        KIND = 1\n")
    before = before.replace("class Base:", f"class {base}(object):\n        pass\n\n\n    class Base:")
    result = carried(tmp_path, {**RELEASE, RUNNER: before}, {RUNNER: before}, {RUNNER: before.replace("= 1", "= 2")})
    assert result.verdict == verdict


@pytest.mark.parametrize(
    ("other", "verdict"), [("torch.npu.wait()", "carried"), ("torch.npu.wait(config, 1)", "review")]
)
def test_torch_npu_gives_its_module_for_devices_to_torch(tmp_path: Path, other: str, verdict: str) -> None:
    calls = f"def other(config):\n    torch_npu.npu.wait(config)\n    {other}\n"
    release = {"vllm_ascend/waits.py": f"import torch\nimport torch_npu\n\n\n{calls}"}
    assert (
        of(tmp_path, ("return total", "torch_npu.npu.wait()\n            return total"), release=release)[0] == verdict
    )


@pytest.mark.parametrize(("asked", "verdict"), [("is_available", "carried"), ("mem_get_info", "review")])
def test_what_torch_answers_without_cuda_as_well_is_not_doubted(tmp_path: Path, asked: str, verdict: str) -> None:
    change = [
        ("from vllm.config import Config", "from vllm.config import Config\n    from vllm.memory import seen"),
        ("return total", "return total + seen()"),
    ]
    release = {"vllm/memory.py": f"import torch\n\n\ndef seen():\n    return torch.cuda.{asked}()\n"}
    assert of(tmp_path, *change, release=release)[0] == verdict


@pytest.mark.parametrize(("twin", "verdict"), [(True, "carried"), (False, "review")])
def test_a_fix_in_another_form_of_the_same_function_is_not_the_fix_of_this_one(
    tmp_path: Path, twin: bool, verdict: str
) -> None:
    fixed = BEFORE.replace("helpers.add(count, 1)", "helpers.add(count, tokens[0])")
    other = fixed[fixed.index("        def step") :].replace("def step", "def step_again")
    if not twin:
        other = "        def after(self, count, tokens):\n            total = helpers.add(count, tokens[0])\n"
        other += "            return self.step(total)\n"
    release = {**RELEASE, RUNNER: f"{BEFORE}\n{other}"}
    result = carried(tmp_path, release, {RUNNER: BEFORE}, {RUNNER: fixed})
    assert result.verdict == verdict


TWIN = """
        def again(self, tokens):
            count = len(tokens)
            total = helpers.add(count, tokens.pop())
            self.plan(total)
            return total
"""
APART = """
        def one(self, x):
            if x:
                return self.step(x)
            return self.again(x)
"""


@pytest.mark.parametrize(
    ("twin", "verdict"),
    [
        (TWIN, "carried"),
        (TWIN.replace("self.plan(total)", "self.plan(self.step(tokens))"), "review"),
        (
            f"{TWIN}\n        def both(self, tokens):\n            self.step(tokens)\n            self.again(tokens)\n",
            "review",
        ),
        (
            f"{TWIN}\n        def both(self, tokens):\n            return self.step(tokens), self.again(tokens)\n",
            "review",
        ),
        (
            TWIN + APART,
            "carried",
        ),
        (f"\n\n    class Child(Runner):\n{TWIN.replace('again', 'step')}", "review"),
    ],
)
def test_a_twin_that_runs_together_with_a_function_has_its_fix_for_both(
    tmp_path: Path, twin: str, verdict: str
) -> None:
    fixed = BEFORE.replace("helpers.add(count, 1)", "helpers.add(count, tokens.pop())")
    result = carried(tmp_path, {**RELEASE, RUNNER: f"{BEFORE}{twin}"}, {RUNNER: BEFORE}, {RUNNER: fixed})
    assert result.verdict == verdict, result.doubts


def test_a_function_that_has_its_fix_from_the_twin_that_it_calls_is_doubted(tmp_path: Path) -> None:
    fixed = BEFORE.replace("helpers.add(count, 1)", "helpers.add(count, tokens.pop())")
    release = BEFORE.replace("self.plan(total)", "self.plan(self.again(tokens))") + TWIN
    result = carried(tmp_path, {**RELEASE, RUNNER: release}, {RUNNER: BEFORE}, {RUNNER: fixed})
    assert result.verdict == "review"
