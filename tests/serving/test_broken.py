"""What is wrong with settings, a release or a disk never keeps a server from coming up; in strict mode it does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from serving.doctored import doctored
from serving.served_engines import SERVING, Engines, Seen
from serving.serving_site import Site

pytestmark = pytest.mark.engine

MISSPELT = '[patches.mm-encoder-atention]\nenabled = true\n\n[patches.rotary-embedding]\nenabled = "yes"\n'
NO_SUCH_PATCH = "there is no patch 'mm-encoder-atention'; did you mean 'mm-encoder-attention'?"
NO_PATCH_IS_ON = "no patch is on"

ROTARY = "vllm.model_executor.layers.rotary_embedding.common"
AS_RELEASED = "    def forward_native(\n        self,\n        x: torch.Tensor,\n        cos: torch.Tensor,\n"
WITH_A_NEW_FORWARD = (
    "    def forward_oot(self, x, cos, sin, scale=1.0):\n        return self.forward_native(x * scale, cos, sin)\n\n"
)
WHY_IT_FAILED = (
    f"{ROTARY}:ApplyRotaryEmb.forward_oot: the replacement does not fit: "
    "upstream's positional parameter 'x' is missing: it has none"
)
DOES_NOT_FIT = f"rotary-embedding failed and is not applied: {WHY_IT_FAILED}"
TRUSTING = '[patches.rotary-embedding]\nunknown = "apply"\n'


def write(file: Path, content: str) -> str:
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    return str(file)


@pytest.fixture(scope="session")
def misspelt(engines: Engines, with_plugin: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A server whose settings name a patch that there is not."""
    folder = tmp_path_factory.mktemp("misspelt")
    settings = write(folder / "patches.toml", MISSPELT)
    return engines.serve(with_plugin, folder, ASCEND_PATCHES_CONFIG=settings)


def test_with_settings_that_cannot_be_used_the_server_answers_as_upstream_made_it(
    misspelt: Seen, unpatched: Seen
) -> None:
    assert (misspelt.applied(), misspelt.answers) == ([set()] * len(misspelt.reports), unpatched.answers)


@pytest.mark.parametrize("said", [NO_SUCH_PATCH, NO_PATCH_IS_ON])
def test_each_process_says_once_what_is_wrong_with_its_settings(said: str, misspelt: Seen) -> None:
    # What the helper that looks at the model says, vLLM keeps to itself; it leaves its report.
    assert sum(said in complaint for complaint in misspelt.complaints) == len(misspelt.processes)


def test_each_report_says_what_is_wrong_with_the_settings(misspelt: Seen) -> None:
    assert misspelt.reports
    assert all(NO_SUCH_PATCH in data["problems"][0] for _, data in misspelt.reports)


@pytest.fixture(scope="session")
def changed_release(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An environment with a release that nobody has seen: its rotary embedding has a forward with a new parameter."""
    folder = tmp_path_factory.mktemp("changed-release")
    release = doctored(folder / "release", ROTARY, AS_RELEASED, WITH_A_NEW_FORWARD + AS_RELEASED)
    return Site(folder / "environment", plugin=True, in_front=[release])


@pytest.fixture(scope="session")
def failing(engines: Engines, changed_release: Site, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A server on that release, whose operator has patches applied to code that nobody verified."""
    folder = tmp_path_factory.mktemp("failing")
    return engines.serve(changed_release, folder, ASCEND_PATCHES_CONFIG=write(folder / "patches.toml", TRUSTING))


def test_a_patch_that_fails_while_it_is_applied_leaves_the_others_on(failing: Seen) -> None:
    ours = set(SERVING)
    assert [applied & ours for applied in failing.applied()] == [ours - {"rotary-embedding"}] * len(failing.reports)


def test_a_partly_patched_server_answers_as_an_unpatched_one(failing: Seen, unpatched: Seen) -> None:
    assert failing.tokens == unpatched.tokens


def test_each_process_says_once_that_the_patch_failed(failing: Seen) -> None:
    assert sum(DOES_NOT_FIT in complaint for complaint in failing.complaints) == len(failing.processes)


def test_each_report_says_that_the_patch_failed(failing: Seen) -> None:
    assert set(failing.states("rotary-embedding").values()) == {"failed"}
    assert all(any(DOES_NOT_FIT in problem for problem in data["problems"]) for _, data in failing.reports)


class NoRoom(NamedTuple):
    """A directory in which no report can be left, and what the system says of it."""

    folder: Path
    command: tuple[str, ...]
    """What to put in front of a command to which, and to whose children alone, it is so."""
    why: str

    @property
    def complaint(self) -> str:
        return f"no report left in {self.folder}: {self.why}"


@pytest.fixture
def no_room(tmp_path: Path) -> NoRoom:
    """A full disk; where nobody may mount one of their own, a path on which there is a file already."""
    folder = tmp_path / "full"
    folder.mkdir()
    fill = 'mount -t tmpfs -o size=4k tmpfs "$0" && head -c 4096 /dev/zero > "$0/fill" && exec "$@"'
    command = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", fill, str(folder))
    if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        return NoRoom(folder, command, "No space left on device")
    (file := tmp_path / "file").touch()
    return NoRoom(file, (), "File exists")


@pytest.mark.long
def test_where_no_report_can_be_left_the_server_comes_up_patched_and_each_process_says_so_once(
    engines: Engines, with_plugin: Site, no_room: NoRoom, unpatched: Seen, tmp_path: Path
) -> None:
    folder = str(no_room.folder)
    seen = engines.serve(with_plugin, tmp_path, command=no_room.command, ASCEND_PATCHES_REPORT_DIR=folder)
    assert seen.tokens == unpatched.tokens
    assert seen.complaints == [no_room.complaint] * len(seen.processes)


def test_in_strict_mode_the_last_line_is_that_no_report_can_be_left(
    engines: Engines, with_hook: Site, no_room: NoRoom
) -> None:
    wish = {"ASCEND_PATCHES": "strict", "ASCEND_PATCHES_REPORT_DIR": str(no_room.folder)}
    code, lines = engines.refuse(with_hook, no_room.command, **wish)
    assert (code, lines[-1]) == (1, f"ascend_patches: strict mode: {no_room.complaint}"), lines


UNUSABLE: dict[str, tuple[Callable[[Path], dict[str, str]], str]] = {
    "settings with mistakes": (
        lambda folder: {"ASCEND_PATCHES_CONFIG": write(folder / "patches.toml", MISSPELT)},
        NO_SUCH_PATCH,
    ),
    "settings that are a directory": (
        lambda folder: {"ASCEND_PATCHES_CONFIG": str(folder)},
        "cannot be read: Is a directory",
    ),
    "settings that are no text": (
        lambda folder: {"ASCEND_PATCHES_CONFIG": write(folder / "patches.toml", "\udcff")},
        "byte 0 is not UTF-8",
    ),
    "settings that are not there": (
        lambda folder: {"ASCEND_PATCHES_CONFIG": str(folder / "absent.toml")},
        "cannot be read: No such file or directory",
    ),
    "an unknown patch in a variable": (
        lambda folder: {"ASCEND_PATCHES_ENABLE": "mm-encoder-atention"},
        "ASCEND_PATCHES_ENABLE: " + NO_SUCH_PATCH,
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("what", [name for name in UNUSABLE if name != "settings with mistakes"])
def test_an_engine_comes_up_unpatched_with(
    what: str, engines: Engines, with_plugin: Site, unpatched: Seen, tmp_path: Path
) -> None:
    variables, words = UNUSABLE[what]
    seen = engines.script(with_plugin, tmp_path, one_process=True, **variables(tmp_path))
    assert (seen.applied(), seen.tokens) == ([set()], unpatched.tokens)
    assert [complaint for complaint in seen.complaints if words in complaint] == seen.complaints[:1]


@pytest.mark.parametrize("what", UNUSABLE)
def test_in_strict_mode_the_last_lines_are_why_there_is_no_server_with(
    what: str, engines: Engines, with_hook: Site, tmp_path: Path
) -> None:
    variables, words = UNUSABLE[what]
    code, lines = engines.refuse(with_hook, ASCEND_PATCHES="strict", **variables(tmp_path))
    assert (code, words in "\n".join(lines[-2:])) == (1, True), lines


def test_in_strict_mode_the_plugin_alone_keeps_the_server_from_coming_up(
    engines: Engines, with_plugin: Site, tmp_path: Path
) -> None:
    settings = write(tmp_path / "patches.toml", MISSPELT)
    code, lines = engines.refuse(with_plugin, ASCEND_PATCHES="strict", ASCEND_PATCHES_CONFIG=settings)
    assert (code, NO_SUCH_PATCH in lines[-2]) == (1, True), lines


def test_in_strict_mode_the_last_line_is_which_code_is_not_known(engines: Engines, changed_release: Site) -> None:
    code, lines = engines.refuse(changed_release, ASCEND_PATCHES="strict")
    assert (code, "strict mode: rotary-embedding: upstream changed: " in lines[-1]) == (1, True), lines


def test_in_strict_mode_the_last_line_is_which_patch_failed_while_it_was_applied(
    engines: Engines, changed_release: Site, tmp_path: Path
) -> None:
    settings = write(tmp_path / "patches.toml", TRUSTING)
    code, lines = engines.refuse(changed_release, ASCEND_PATCHES="strict", ASCEND_PATCHES_CONFIG=settings)
    assert (code, lines[-1]) == (1, f"ascend_patches: strict mode: rotary-embedding: {WHY_IT_FAILED}"), lines
