"""What modules took of a definition while they were imported does not follow when it is replaced later."""

from __future__ import annotations

from pathlib import Path

import pytest
from carrying.small_release import BEFORE, KIND, LATE, OTHER, PICK, STEP, VALUE, edited, verdict_of

TAKES_PICK = "from vllm_ascend.runner import pick\n"
TAKES_RUNNER = "from vllm_ascend.runner import Runner\n"


@pytest.mark.parametrize("edit", [PICK, STEP, KIND, LATE])
def test_without_such_a_module_the_change_is_carried(tmp_path: Path, edit: tuple[str, str]) -> None:
    assert verdict_of(tmp_path, edit) == ("carried", "")


@pytest.mark.parametrize(
    "user",
    [
        f"{TAKES_PICK}TABLE = {{'pick': pick}}\n",
        "import vllm_ascend.runner as runner\nTABLE = [runner.pick]\n",
        "from vllm_ascend import runner\nTABLE = [runner.pick]\n",
        f"import functools\n{TAKES_PICK}part = functools.partial(pick, 1)\n",
        f"{TAKES_PICK}class Holder:\n    run = pick\n",
        f"{TAKES_PICK}class Holder:\n    run = staticmethod(pick)\n",
        f"{TAKES_PICK}def go(function=pick):\n    return function(1)\n",
        f"{TAKES_PICK}@pick\ndef go():\n    return 1\n",
        f"import torch\n{TAKES_PICK}LIBRARY = torch.library.Library('x', 'FRAGMENT')\nLIBRARY.impl('pick', pick)\n",
        f"{TAKES_PICK}from vllm.utils import register\nregister(op_name='x', op_func=pick)\n",
        f"{TAKES_PICK}from vllm.config import Config\nfor name in ('a', 'b'):\n    setattr(Config, name, pick)\n",
        f"{TAKES_PICK}CHOSEN = pick if True else None\n",
        f"{TAKES_PICK}class Holder(metaclass=pick):\n    pass\n",
        f"{TAKES_PICK}KNOWN = {{}}\ndef register():\n    KNOWN['pick'] = pick\n\nregister()\n",
        f"{TAKES_PICK}VALUE = pick(3)\n",
        f"{TAKES_PICK}def outer():\n    return pick(3)\n\nVALUE = outer()\n",
    ],
)
def test_another_module_that_holds_or_runs_a_function_at_import_asks_for_a_review(tmp_path: Path, user: str) -> None:
    verdict, said = verdict_of(tmp_path, PICK, release={OTHER: user})
    assert (verdict, "vllm_ascend.other" in said) == ("review", True)


def test_another_name_for_a_function_follows_by_its_identity(tmp_path: Path) -> None:
    assert verdict_of(tmp_path, PICK, release={OTHER: f"{TAKES_PICK}alias = pick\n"})[0] == "carried"


def test_a_function_that_is_only_called_by_functions_follows(tmp_path: Path) -> None:
    user = f"{TAKES_PICK}def outer():\n    return pick(3)\n"
    assert verdict_of(tmp_path, PICK, release={OTHER: user})[0] == "carried"


@pytest.mark.parametrize(
    "end",
    [
        "VALUE = pick(3)\n",
        "def outer():\n    return pick(3)\n\n\nVALUE = outer()\n",
        "FAST = torch.compile(pick)\n",
        "def make():\n    inner = pick\n    return lambda x: inner(x)\n\n\nRUN = make()\n",
    ],
)
def test_the_own_module_that_took_or_ran_it_makes_it_impossible(tmp_path: Path, end: str) -> None:
    verdict, said = verdict_of(tmp_path, PICK, base=f"{BEFORE}\n\n{end}")
    assert (verdict, "when the module ran" in said) == ("not carried", True)


@pytest.mark.parametrize(
    ("edit", "user"),
    [
        (STEP, f"{TAKES_RUNNER}TABLE = {{'step': Runner.step}}\n"),
        (STEP, f"{TAKES_RUNNER}class Child(Runner):\n    forward = Runner.step\n"),
        (STEP, f"{TAKES_RUNNER}class Child(Runner):\n    pass\n\n\nTABLE = [Child.step]\n"),
        (
            ("return 3", "return 4"),
            f"{TAKES_RUNNER}class Child(Runner):\n    @Runner.size.setter\n    def size(self, value):\n        pass\n",
        ),
        (("self.config = config", "self.config = config or Config()"), f"{TAKES_RUNNER}RUNNER = Runner(None)\n"),
    ],
)
def test_what_took_a_method_or_made_an_instance_asks_for_a_review(
    tmp_path: Path, edit: tuple[str, str], user: str
) -> None:
    verdict, said = verdict_of(tmp_path, edit, release={OTHER: user})
    assert (verdict, "vllm_ascend.other" in said) == ("review", True)


@pytest.mark.parametrize("line", ["run = step", "run = partialmethod(step)"])
def test_an_alias_in_the_class_itself_makes_it_impossible(tmp_path: Path, line: str) -> None:
    base = edited(BEFORE, ("    @property", f"    {line}\n\n    @property"))
    assert verdict_of(tmp_path, STEP, base=f"from functools import partialmethod\n{base}")[0] == "not carried"


def test_a_constructor_that_made_the_modules_own_instance_has_done_its_work(tmp_path: Path) -> None:
    edit = ("self.config = config", "self.config = config or Config()")
    assert verdict_of(tmp_path, edit, base=f"{BEFORE}\n\nRUNNER = Runner(None)\n")[0] == "not carried"


@pytest.mark.parametrize(
    ("edit", "user"),
    [
        (VALUE, "from vllm_ascend.runner import LIMIT\n"),
        (VALUE, "from vllm_ascend import runner\nTWICE = runner.LIMIT * 2\n"),
        (VALUE, "import vllm_ascend.runner\ndef go(size=vllm_ascend.runner.LIMIT):\n    return size\n"),
        (KIND, f"{TAKES_RUNNER}KIND = Runner.KIND\n"),
        (KIND, f"{TAKES_RUNNER}class Child(Runner):\n    MORE = Runner.KIND + 1\n"),
    ],
)
def test_a_value_that_was_read_at_import_stays_what_it_was(tmp_path: Path, edit: tuple[str, str], user: str) -> None:
    verdict, said = verdict_of(tmp_path, edit, release={OTHER: user})
    assert (verdict, "vllm_ascend.other took" in said) == ("not carried", True)


@pytest.mark.parametrize(
    ("edit", "end"),
    [
        (VALUE, "def limit():\n    return LIMIT\n\n\nTAKEN = limit()\n"),
        (KIND, "def kind():\n    return Runner.KIND\n\n\nTAKEN = kind()\n"),
        (VALUE, "def keep(function):\n    LIMITS[LIMIT] = function\n\n\n@keep\ndef go():\n    pass\n"),
    ],
)
def test_a_value_that_a_function_read_at_import_stays_what_it_was(
    tmp_path: Path, edit: tuple[str, str], end: str
) -> None:
    assert verdict_of(tmp_path, edit, base=f"LIMITS = {{}}\n{BEFORE}\n\n{end}")[0] == "not carried"


@pytest.mark.parametrize("value", ["{'a': lambda: 1}", "Config()", "helpers.add(1, 2)"])
def test_a_value_that_is_another_object_each_time_is_not_known_again(tmp_path: Path, value: str) -> None:
    base = edited(BEFORE, ("LIMIT = 4", f"LIMIT = {value}"))
    verdict, said = verdict_of(tmp_path, (f"LIMIT = {value}", "LIMIT = None"), base=base)
    assert (verdict, "not known again" in said) == ("not carried", True)


@pytest.mark.parametrize(
    "end",
    [
        "from vllm_ascend.helpers import add as pick\n",
        "def rebind():\n    global pick\n    pick = len\n",
        "del pick\n",
        "for pick in ():\n    pass\n",
    ],
)
def test_a_name_that_is_bound_in_another_way_as_well_is_not_replaced(tmp_path: Path, end: str) -> None:
    verdict, said = verdict_of(tmp_path, PICK, base=f"{BEFORE}\n\n{end}")
    assert (verdict, "again" in said) == ("not carried", True)


@pytest.mark.parametrize(
    ("base", "edit"),
    [
        (
            edited(
                BEFORE, ("    def late(self):\n        return 5", "    if torch:\n        def late(self): return 5")
            ),
            ("return 5", "return 6"),
        ),
        (f"{BEFORE}\n\nif torch:\n\n  class Inner:\n    def go(self):\n        return 8\n", ("return 8", "return 9")),
    ],
)
def test_a_method_that_is_there_under_a_condition_only_is_doubted(
    tmp_path: Path, base: str, edit: tuple[str, str]
) -> None:
    assert verdict_of(tmp_path, edit, base=base)[0] == "review"
