"""The way in behind opentelemetry-instrument, whose sitecustomize hides ours: through its own entry points."""

from __future__ import annotations

import configparser

from support import REPOSITORY, SITECUSTOMIZE, World

HIDING = """
import os
if "HOOK" in os.environ:
    from ascend_patches.starting.opentelemetry_hook import start
    start()
"""
"""A sitecustomize like theirs: it calls what the entry points name, and runs no other one."""

ASK = """
import vllm.engine
from ascend_patches import status
print(json.dumps([vllm.engine.greet("you"), status()["activated_by"]]))
"""


def asked(world: World, *, ours_too: bool = True, **env: str) -> list[str | None]:
    world.write("theirs/sitecustomize.py", HIDING)
    path = [world.folder / "theirs", *([SITECUSTOMIZE] if ours_too else [])]
    answer: list[str | None] = world.python(ASK, path=path, env=env).json
    return answer


def test_the_entry_point_that_opentelemetry_loads_is_declared_and_leads_here() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(REPOSITORY / "setup.cfg")
    declared = metadata["options.entry_points"]["opentelemetry_pre_instrument"].split()
    assert declared == ["ascend_patches", "=", "ascend_patches.starting.opentelemetry_hook:start"]


def test_hidden_ours_does_not_start_without_it(greeting: World) -> None:
    assert asked(greeting) == ["upstream you!", None]


def test_hidden_ours_is_started_by_it(greeting: World) -> None:
    assert asked(greeting, HOOK="1") == ["patched you!", "sitecustomize, behind opentelemetry-instrument"]


def test_where_nobody_put_ours_on_the_path_it_starts_nothing(greeting: World) -> None:
    assert asked(greeting, ours_too=False, HOOK="1") == ["upstream you!", None]


def test_off_starts_nothing(greeting: World) -> None:
    assert asked(greeting, HOOK="1", ASCEND_PATCHES="off") == ["upstream you!", None]


def test_further_packages_to_wait_for_are_waited_for(greeting: World) -> None:
    greeting.package("acme", {})
    greeting.write("theirs/sitecustomize.py", HIDING)
    code = "import acme\nprint(json.dumps('ascend_patches.process.toolkit' in sys.modules))"
    path = [greeting.folder / "theirs", SITECUSTOMIZE]
    assert greeting.python(code, path=path, env={"HOOK": "1", "ASCEND_PATCHES_ROOTS": "acme"}).json is True


def test_where_ours_has_run_it_changes_nothing(greeting: World) -> None:
    code = "from ascend_patches.starting.opentelemetry_hook import start\nstart()\n" + ASK
    assert greeting.python(code, path=[SITECUSTOMIZE]).json == ["patched you!", "sitecustomize"]
