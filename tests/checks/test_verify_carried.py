"""verify: a carried patch has no checks; it is in place with all its names, or it is said what is not."""

from __future__ import annotations

import json
from pathlib import Path

from carrying.installed import command, installed
from carrying.test_written import FIXED, RELEASE, STEPS


def test_a_carried_patch_that_is_in_place_is_no_difference(tmp_path: Path) -> None:
    environment = installed(tmp_path, RELEASE, FIXED, "mend-it")
    done = command(environment, tmp_path, "verify", "--emulated", "mend-it", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["differences"]) == (0, []), told
    assert [(each["name"], each["state"], each["carried"]) for each in told["patches"]] == [("mend-it", "applied", [])]


def test_a_name_that_is_not_there_is_a_difference(tmp_path: Path) -> None:
    environment = installed(tmp_path, RELEASE, FIXED, "mend-it")
    after = tmp_path / "written" / "mend_it" / "after" / STEPS
    after.write_text(after.read_text(encoding="utf-8").replace("count + more", "count + mroe"), encoding="utf-8")
    done = command(environment, tmp_path, "verify", "--emulated", "mend-it", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert any("mroe" in each for each in told["differences"]), told
