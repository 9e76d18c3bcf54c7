"""What a pair needs beside torch and numpy, which the environment brings."""

from __future__ import annotations

from pathlib import Path

from .pairs import PAIRS, Pair
from .store import Distribution, Form, Store

# For a release of transformers, the releases of huggingface_hub, tokenizers and compressed-tensors that fit it.
_TRANSFORMERS: dict[str, tuple[str, str, str]] = {
    "4.52.4": ("0.36.2", "0.21.4", "0.10.1"),
    "4.57.6": ("0.36.2", "0.22.2", "0.17.0"),
    "5.5.3": ("1.33.0", "0.22.2", "0.17.0"),
    "5.5.4": ("1.33.0", "0.22.2", "0.17.0"),
    "5.13.0": ("1.33.0", "0.22.2", "0.17.0"),
    "5.14.1": ("1.33.0", "0.22.2", "0.17.0"),
    "5.17.0": ("1.33.0", "0.23.3", "0.17.0"),
    "5.19.0": ("2.4.0", "0.23.3", "0.17.0"),
}

# torchvision is published for torch with CUDA; its compiled part cannot be loaded, and the releases do without it.
_PYTHON_FILES_ONLY = {"torchvision"}


def transformers(pair: Pair) -> list[Distribution]:
    """transformers as the pair wants it, with what has to fit its release."""
    hub, tokenizers, compressed_tensors = _TRANSFORMERS[pair.transformers]
    return [
        Distribution("transformers", pair.transformers),
        Distribution("huggingface-hub", hub, Form.WHOLE),
        Distribution("tokenizers", tokenizers, Form.WHOLE),
        Distribution("compressed-tensors", compressed_tensors, Form.WHOLE),
    ]


def shared() -> list[Distribution]:
    """What every pair imports, in one version for all of them."""
    lines = (Path(__file__).parent / "dependencies.txt").read_text("utf-8").splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return [
        Distribution(name, version, Form.WHEEL if name in _PYTHON_FILES_ONLY else Form.WHOLE) for name, version in pins
    ]


def needed(pair: Pair) -> list[Distribution]:
    """Everything to fetch for a pair."""
    return [*pair.upstream, *transformers(pair), *shared()]


def path(pair: Pair, store: Store) -> list[Path]:
    """The folders of a pair, in the order in which Python is to look into them."""
    return [
        *(store.site(each) for each in pair.upstream),
        store.assemble(f"transformers-{pair.transformers}", transformers(pair)),
        store.assemble("shared", shared()),
    ]


def all_needed() -> list[Distribution]:
    """Everything to fetch for every pair."""
    return list(dict.fromkeys(each for pair in PAIRS for each in needed(pair)))
