"""A release that nobody has seen: this interpreter's vLLM with one file changed, in links to all the others."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def doctored(folder: Path, module: str, old: str, new: str) -> Path:
    """A folder to put in front on the path, with a vLLM in whose ``module`` the text ``old`` is ``new``."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    released, here = Path(spec.origin).parent, folder / "vllm"
    *packages, name = module.split(".")[1:]
    for package in ["", *packages]:
        released, here = released / package, here / package
        here.mkdir(parents=True)
        inner = (*packages, f"{name}.py")[len(here.relative_to(folder / "vllm").parts)]
        for entry in released.iterdir():
            if entry.name != inner and entry.name != "__pycache__":
                (here / entry.name).symlink_to(entry)
    text = (released / f"{name}.py").read_text(encoding="utf-8")
    assert old in text
    (here / f"{name}.py").write_text(text.replace(old, new), encoding="utf-8")
    return folder
