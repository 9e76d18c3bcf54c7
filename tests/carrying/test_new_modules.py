"""A module that a change adds is carried as a whole where running it can be taken back, and refused where not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from carrying.installed import installed
from carrying.made_releases import carried

PACKAGE = "vllm_ascend/patch/platform/__init__.py"
NEW = "vllm_ascend/patch/platform/patch_parser.py"
PARSER = "vllm/parser.py"
TOOLS = "vllm_ascend/tools.py"
RELEASE = {
    PACKAGE: "import vllm_ascend.patch.platform.patch_old\n",
    "vllm_ascend/patch/platform/patch_old.py": "def old():\n    return 1\n",
    PARSER: """
        class Parser:
            sep = ","

            def parse(self, text):
                return text.split(self.sep)

            def joined(self, text):
                return self.parse(text)

            @staticmethod
            def clean(text):
                return text
    """,
    TOOLS: "def tool(x):\n    return x\n",
}
MODULE = """
    from __future__ import annotations

    import json
    from dataclasses import dataclass

    from vllm.parser import Parser
    from vllm_ascend.tools import shorten

    LIMIT: int = 2

    if not hasattr(Parser, "_original_parse"):
        Parser._original_parse = Parser.parse


    @dataclass
    class Part:
        text: str


    def _clean(text):
        return shorten(text)


    def _parse(self, text):
        parts = [Part(each) for each in self._original_parse(self.clean(text))]
        return [json.dumps(part.text) for part in parts][:LIMIT]


    _parse.__qualname__ = Parser.parse.__qualname__
    Parser.parse = _parse
    Parser.clean = staticmethod(_clean)
"""
FIXED = {
    PACKAGE: RELEASE[PACKAGE] + "import vllm_ascend.patch.platform.patch_parser\n",
    NEW: MODULE,
    TOOLS: RELEASE[TOOLS] + "\n\ndef shorten(text):\n    return text.strip()\n",
}
LOOK = """
    import json, sys
    import ascend_patches
    ascend_patches.apply_patches()
    import vllm.parser, vllm_ascend.tools, vllm_ascend.patch.platform as platform
    from vllm.parser import Parser
    name = "vllm_ascend.patch.platform.patch_parser"

    def seen():
        return [Parser().joined(" a,b,c "), name in sys.modules, hasattr(platform, "patch_parser"),
                hasattr(Parser, "_original_parse"), hasattr(vllm_ascend.tools, "shorten"), Parser.clean(" x")]

    told = [next(each["state"] for each in ascend_patches.status()["patches"] if each["name"] == "carried-123"), seen()]
    told.append(sys.modules[name].__name__ if name in sys.modules else "")
    ascend_patches.revert_patches("carried-123")
    print(json.dumps([*told, seen()]))
"""


def test_it_goes_in_place_with_all_that_it_sets_and_goes_again(tmp_path: Path) -> None:
    environment = installed(tmp_path, RELEASE, FIXED, "carried-123")
    done = subprocess.run(
        [sys.executable, "-c", dedent(LOOK)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "applied",
        [['"a"', '"b"'], True, True, True, True, "x"],
        "vllm_ascend.patch.platform.patch_parser",
        [[" a", "b", "c "], False, False, False, False, " x"],
    ]
    written = (tmp_path / "written" / "carried_123" / "after" / NEW).read_text("utf-8")
    assert "# Parser.parse = _parse" in written
    assert "\nParser" not in written


def of(tmp_path: Path, module: str, release: dict[str, str] | None = None) -> tuple[str, str]:
    there = {**RELEASE, **(release or {})}
    result = carried(tmp_path, there, {path: there[path] for path in FIXED if path in there}, {**FIXED, NEW: module})
    return result.verdict, " ".join(str(each.as_json()["reason"]) for each in result.definitions)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("LIMIT: int = 2", "Parser.table['x'] = 1", "it changes what is not its own"),
        ("LIMIT: int = 2", "LIMIT = Parser.register(2)", "it calls Parser.register"),
        ("LIMIT: int = 2", "import torch\n    torch.set_default_dtype(1)", "does more when it runs"),
        ("LIMIT: int = 2", "for LIMIT in range(3):\n        pass", "does more when it runs"),
        ("LIMIT: int = 2", "from vllm.parser import *", "star import"),
        ("LIMIT: int = 2", "if Parser.ready():\n        LIMIT = 2", "it calls Parser.ready"),
        ("@dataclass", "@Parser.register", "runs when the class is made"),
        ("def _clean(text):", "@Parser.register\n    def _clean(text):", "runs when it is defined"),
        ("def _clean(text):", "def _clean(text, more=Parser.register()):", "it calls Parser.register"),
        ("Parser.parse = _parse", "Parser.parse = _parse\n    Parser.parse = _clean", "twice"),
        ("import json\n", "import json\n    from vllm.parser import missing\n", "vllm.parser.missing"),
        ("import json\n", "import json\n    import vllm.missing\n", "vllm.missing"),
        ("self._original_parse(self", "self.frobnicate(self", "frobnicate"),
        ("shorten(text)\n", "shorten(text) + missing\n", "missing"),
        ("def _parse(self, text):", "def _parse(self, text, deep):", "other parameters"),
        ("Parser.clean = staticmethod(_clean)", "Parser.clean = _clean", "another kind of method"),
        ("def _parse(self", "async def _parse(self", "asynchronous"),
        ("Parser.clean = ", "Parser.tidy = ", "nothing on the release has or reads"),
        # the release has no such method: nothing calls what would be put there
        ("Parser.parse", "Parser.parse_all", "needs Parser.parse_all"),
        ("Parser._original_parse = Parser.parse", "Parser._original_parse = Parser.gone", "needs Parser.gone"),
        ("Parser.sep", "Parser.sep", ""),
    ],
)
def test_what_cannot_be_taken_back_or_does_not_fit_is_not_carried(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    if not said:
        assert of(tmp_path, MODULE)[0] == "carried"
        return
    assert old in MODULE
    verdict, reason = of(tmp_path, MODULE.replace(old, new))
    assert (verdict != "carried", said in reason) == (True, True), (verdict, reason)


def test_a_patch_of_the_release_that_sets_the_same_is_looked_at(tmp_path: Path) -> None:
    other = "from vllm.parser import Parser\n\n\ndef old(self, text):\n    return 1\n\n\nParser.parse = old\n"
    verdict, reason = of(tmp_path, MODULE, {"vllm_ascend/patch/platform/patch_old.py": other})
    assert (verdict, "sets vllm.parser:Parser.parse as well" in reason) == ("review", True)


def test_a_patch_of_the_release_that_took_what_is_replaced_is_looked_at(tmp_path: Path) -> None:
    other = "from vllm.parser import Parser\n\nkept = Parser.parse\n\n\ndef old():\n    return kept\n"
    verdict, reason = of(tmp_path, MODULE, {"vllm_ascend/patch/platform/patch_old.py": other})
    assert (verdict, "takes vllm.parser:Parser.parse when it runs" in reason) == ("review", True)


def test_a_module_in_a_package_that_the_release_lacks_is_not_there(tmp_path: Path) -> None:
    new = {"vllm_ascend/absent/one.py": "def one():\n    return 1\n"}
    result = carried(tmp_path, RELEASE, {}, new)
    assert (result.verdict, result.definitions[0].verdict) == ("not carried", "not there")


def test_a_module_that_nothing_imports_does_nothing(tmp_path: Path) -> None:
    new = {"vllm_ascend/patch/platform/alone.py": "def one():\n    return 1\n"}
    result = carried(tmp_path, RELEASE, {}, new)
    assert result.verdict == "review"
    assert "nothing on the release imports" in " ".join(result.doubts)


def test_an_import_under_a_condition_is_no_carried_module(tmp_path: Path) -> None:
    package = RELEASE[PACKAGE] + "if len(__name__) > 3:\n    import vllm_ascend.patch.platform.patch_parser\n"
    result = carried(tmp_path, RELEASE, {path: RELEASE[path] for path in (PACKAGE, TOOLS)}, {**FIXED, PACKAGE: package})
    assert result.verdict in ("partly", "not carried", "review")


BASES = "vllm_ascend/bases.py"
BASE = """
    class Base:
        def plan(self, size):
            return size + 1

        def other(self):
            return 1
"""
MADE = "from vllm_ascend.bases import Base\n\n\nclass Made(Base):\n    def plan(self, size):\n        return size\n"


@pytest.mark.parametrize(
    ("upstream", "verdict"),
    [
        (BASE, "carried"),
        (BASE.replace("size + 1", "kernel(size)"), "review"),
        (BASE.replace("return 1", "return 2"), "carried"),
        (BASE.replace("def plan", "def planned"), "review"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_class_that_overrides_what_was_another_function_may_mend_nothing(
    tmp_path: Path, upstream: str, verdict: str, whole: bool
) -> None:
    """The release's own function may never have had what the override is there to mend."""
    release = {TOOLS: RELEASE[TOOLS], BASES: BASE, "vllm_ascend/uses.py": "from vllm_ascend.tools import tool\n"}
    uses = "\n\ndef tool(x):\n    return Made().plan(x)\n"
    new = {"vllm_ascend/made.py": MADE, TOOLS: f"from vllm_ascend.made import Made\n{uses}"}
    if not whole:
        new = {TOOLS: f"{MADE}{uses}"}
    result = carried(tmp_path, release, {TOOLS: RELEASE[TOOLS], BASES: upstream}, {**new, BASES: upstream})
    assert result.verdict == verdict, [each.as_json() for each in result.definitions]
