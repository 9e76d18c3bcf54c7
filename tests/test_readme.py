"""README and docs: what they show is what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY, World, clean_environ

from ascend_patches.commands import command_line as cli
from ascend_patches.patches.more_encoders.declaration import PATCH, ROWS
from ascend_patches.upstream import fingerprints

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
EXAMPLES = REPOSITORY / "examples"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_patch_in_the_readme_is_the_example_whole() -> None:
    example = (EXAMPLES / "toy-encoder-patches" / "toy_encoder_patches.py").read_text(encoding="utf-8")
    assert example in blocks(README, "python")
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) < 30


def test_the_example_vouches_for_the_code_it_was_written_against(world: World) -> None:
    source = (EXAMPLES / "toy-encoder" / "toy_encoder" / "attention.py").read_text(encoding="utf-8")
    assert f'"{fingerprints.of_source(source, "Attention.lengths")}"' in README


def test_the_settings_in_the_readme_switch_the_example(world: World) -> None:
    install_examples(world)
    settings = world.settings(next(block for block in blocks(README, "toml") if "override" in block))
    result = world.python(
        """
        import ascend_patches, toy_encoder
        print(json.dumps(ascend_patches.apply_patches()))
        """,
        env={"ASCEND_PATCHES_CONFIG": settings},
    )
    patch = result.patch("toy-segment-lengths")
    assert (patch["state"], patch["reason"]) == (
        "skipped",
        f"switched off by {settings}, for toy-encoder >=1.4,<1.5",
    )


def install_examples(world: World) -> None:
    """The example distributions, as pip would have installed them."""
    shutil.copytree(EXAMPLES / "toy-encoder" / "toy_encoder", world.folder / "toy_encoder")
    shutil.copy(EXAMPLES / "toy-encoder-patches" / "toy_encoder_patches.py", world.folder)
    world.distribution("toy-encoder", "1.4.0", ["toy_encoder"])
    world.distribution(
        "toy-encoder-patches",
        "0.1.0",
        ["toy_encoder_patches"],
        {"ascend_patches.patches": "toy_encoder_patches:PATCH"},
    )


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_command_that_is_shown_exists(page: Path) -> None:
    parser = cli.parser()
    shown = [line[2:] for block in blocks(page.read_text(encoding="utf-8"), "console") for line in block.splitlines()]
    for line in shown:
        for command in line.partition("    #")[0].split(";"):
            words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
            if words[:1] == ["ascend-patches"]:
                parser.parse_args(words[1:])
            elif words and words[0].startswith("tools/"):
                assert os.access(REPOSITORY / words[0], os.X_OK)


@pytest.mark.parametrize("command", ["status", "list", "explain mm-encoder-attention", "doctor"])
def test_what_only_reads_runs_as_it_is_shown_where_nothing_is_installed(command: str) -> None:
    assert f"$ ascend-patches {command} " in README
    environ = clean_environ([REPOSITORY])
    line = [sys.executable, "-m", "ascend_patches", *command.split()]
    done = subprocess.run(line, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    folder = REPOSITORY if page.name == "README.md" else REPOSITORY / "docs"
    missing = [link for link in links if "://" not in link and link and not (folder / link).exists()]
    assert missing == []


def test_the_number_of_encoders_is_that_of_the_rows() -> None:
    encoders = {encoder for row in ROWS for encoder in row.part.name.split(", ")}
    named = {"PaddleOCR-VL", "GLM-OCR", "dots.ocr", "Kimi-VL"}
    assert named < encoders
    others = len(encoders - named)
    pages = ("README.md", "README.zh.md", "docs/index.md", "patches.toml")
    texts = {page: (REPOSITORY / page).read_text(encoding="utf-8") for page in pages} | {"the summary": PATCH.summary}
    due = dict.fromkeys(texts, f"dots.ocr, Kimi-VL and {others} other")
    due["README.zh.md"] = f"dots.ocr、Kimi-VL 等 {len(encoders)} 种"
    assert {page: words for page, words in due.items() if words not in texts[page]} == {}, "there are other rows now"
