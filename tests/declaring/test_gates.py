"""Gates: what each holds for, how they combine when something is unknown, and how they read aloud."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_patches.declaring.gates import (
    Gate,
    Verdict,
    absent,
    always,
    installed,
    torch_npu_has,
    version_in,
    vllm_version_is,
)
from ascend_patches.upstream.environment import Environment

RELEASE = Environment({"vllm": "0.15.0", "vllm-ascend": "0.13.0"})
TRUE, FALSE, UNKNOWN = always, ~always, torch_npu_has("npu_op")


class TorchNpu(Environment):
    """A release with a torch_npu that is loaded and has these ops."""

    def __init__(self, versions: dict[str, str | None], ops: tuple[str, ...]) -> None:
        super().__init__(versions)
        self._ops = ops

    def torch_npu_has(self, op: str, argument: str | None) -> bool:
        return op in self._ops


def holds(gate: Gate, where: Environment = RELEASE) -> bool | None:
    return gate.judge(where).holds


def test_presence_and_absence_do_not_ask_for_a_version() -> None:
    where = Environment({"vllm": None})
    assert (holds(installed("vllm"), where), holds(absent("vllm"), where)) == (True, False)
    assert (holds(installed("torch-npu"), where), holds(absent("torch-npu"), where)) == (False, True)


def test_a_capability_is_what_torch_npu_says() -> None:
    gate = torch_npu_has("npu_rotary_mul", argument="rotate")
    assert [holds(gate, TorchNpu({}, ops)) for ops in (("npu_rotary_mul",), ())] == [True, False]
    assert holds(gate) is None


KLEENE = [
    # a, b, a & b, a | b
    (TRUE, TRUE, True, True),
    (TRUE, FALSE, False, True),
    (TRUE, UNKNOWN, None, True),
    (FALSE, FALSE, False, False),
    (FALSE, UNKNOWN, False, None),
    (UNKNOWN, UNKNOWN, None, None),
]


@pytest.mark.parametrize(("a", "b", "both", "either"), KLEENE)
def test_what_is_unknown_stays_unknown_unless_the_rest_decides(
    a: Gate, b: Gate, both: bool | None, either: bool | None
) -> None:
    assert [holds(a & b), holds(b & a), holds(a | b), holds(b | a)] == [both, both, either, either]


def test_negation_leaves_the_unknown_unknown() -> None:
    assert [holds(~gate) for gate in (TRUE, FALSE, UNKNOWN)] == [False, True, None]
    assert ~~UNKNOWN is UNKNOWN


@pytest.mark.parametrize(
    ("gate", "verdict"),
    [
        (vllm_version_is("0.15.0"), Verdict(True, "vllm is 0.15.0")),
        (vllm_version_is("0.14.0"), Verdict(False, "vllm is 0.15.0, not ==0.14.0")),
        (version_in("torch", ">=2"), Verdict(False, "torch is not installed")),
        (absent("torch"), Verdict(True, "torch is not installed")),
        (vllm_version_is("0.15.0") & absent("vllm-ascend"), Verdict(False, "vllm-ascend is installed")),
        (vllm_version_is("0.14.0") | absent("vllm"), Verdict(False, "vllm is 0.15.0, not ==0.14.0; vllm is installed")),
        (vllm_version_is("0.14.0") | installed("vllm"), Verdict(True, "vllm is installed")),
        (UNKNOWN, Verdict(None, "only a torch_npu that is loaded can tell whether torch_npu has npu_op")),
    ],
)
def test_a_verdict_says_what_decided(gate: Gate, verdict: Verdict) -> None:
    assert gate.judge(RELEASE) == verdict


@pytest.mark.parametrize(
    ("text", "why"),
    [("dev", "vllm says 'dev' (as given)"), (None, "vllm does not say its version (as given)")],
)
def test_an_unknown_version_is_neither_in_a_range_nor_outside(text: str | None, why: str) -> None:
    gate = version_in("vllm", ">=0.15")
    where = Environment({"vllm": text})
    assert gate.judge(where) == Verdict(None, why)
    assert holds(~gate, where) is None


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (always, "always"),
        (vllm_version_is("0.15.0"), "vllm ==0.15.0"),
        (version_in("vllm", ">=0.15,<0.18") & absent("vllm-ascend"), "vllm >=0.15,<0.18 and vllm-ascend not installed"),
        (always & (installed("a") | installed("b")) & always, "always and (a installed or b installed) and always"),
        (always | installed("a") & installed("b"), "always or a installed and b installed"),
        (~(installed("a") & installed("b")), "not (a installed and b installed)"),
        (torch_npu_has("npu_op", argument="x"), "torch_npu has npu_op with argument 'x'"),
    ],
)
def test_a_gate_reads_aloud(gate: Gate, text: str) -> None:
    assert str(gate) == text


def test_a_gate_that_could_hold_is_one_that_other_versions_could_open() -> None:
    assert vllm_version_is("0.9.0").could_hold(RELEASE)
    assert (~vllm_version_is("0.15.0")).could_hold(RELEASE)
    assert not (vllm_version_is("0.15.0") & absent("vllm-ascend")).could_hold(RELEASE)
    assert not version_in("torch", ">=2").could_hold(RELEASE)
    assert not (always & torch_npu_has("npu_op")).could_hold(TorchNpu({}, ()))


@pytest.mark.parametrize(
    ("gate", "needs"),
    [
        (vllm_version_is("0.9.0"), False),
        (vllm_version_is("0.9.0") & torch_npu_has("a"), True),
        (vllm_version_is("0.9.0") & ~torch_npu_has("a"), True),
        (vllm_version_is("0.9.0") | torch_npu_has("a"), False),
        (torch_npu_has("a") | ~torch_npu_has("a"), False),
        (torch_npu_has("a") | ~torch_npu_has("b"), True),
    ],
)
def test_whether_a_gate_hinges_on_a_torch_npu_that_is_not_loaded(gate: Gate, needs: bool) -> None:
    assert gate.needs_torch_npu(RELEASE) is needs
    assert gate.needs_torch_npu(TorchNpu({"vllm": "0.15.0"}, ("a",))) is False


def test_a_gate_is_true_or_false_where_it_runs() -> None:
    code = (
        "from ascend_patches import vllm_version_is, installed\n"
        "assert vllm_version_is('0.15.0') and installed('packaging')\n"
        "assert not vllm_version_is('0.14.0')\n"
        "import os; os.environ['VLLM_VERSION'] = 'dev'\n"
        "assert not vllm_version_is('0.15.0') and not ~vllm_version_is('0.15.0')\n"
    )
    from support import clean_environ

    subprocess.run([sys.executable, "-c", code], env=clean_environ([], {"VLLM_VERSION": "0.15.0+cpu"}), check=True)


ATOMS: list[tuple[Gate, bool]] = [
    (always, True),
    (vllm_version_is("0.15.0"), True),
    (version_in("vllm", "<0.15"), False),
    (version_in("vllm-ascend", "==0.13.*"), True),
    (installed("torch"), False),
    (absent("torch"), True),
    (torch_npu_has("npu_a"), True),
    (torch_npu_has("npu_b"), False),
]
_trees = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        inner.map(lambda one: (~one[0], not one[1])),
        st.tuples(inner, inner).map(lambda two: (two[0][0] & two[1][0], two[0][1] and two[1][1])),
        st.tuples(inner, inner).map(lambda two: (two[0][0] | two[1][0], two[0][1] or two[1][1])),
    ),
    max_leaves=12,
)
KNOWN = TorchNpu({"vllm": "0.15.0", "vllm-ascend": "0.13.0"}, ("npu_a",))


@given(_trees)
def test_where_everything_is_known_a_gate_is_plain_logic(tree: tuple[Gate, bool]) -> None:
    gate, expected = tree
    assert holds(gate, KNOWN) is expected


@given(_trees)
def test_what_is_decided_with_little_knowledge_stays_decided_with_more(tree: tuple[Gate, bool]) -> None:
    gate, expected = tree
    for where in (RELEASE, RELEASE.without_versions(), KNOWN.without_versions()):
        assert holds(gate, where) in (None, expected)
    if expected:
        assert gate.could_hold(KNOWN)


@given(_trees)
def test_a_gate_needs_torch_npu_only_if_some_answers_would_close_it(tree: tuple[Gate, bool]) -> None:
    gate, _ = tree
    answers = [
        TorchNpu(
            {"vllm": "0.15.0", "vllm-ascend": "0.13.0"}, tuple(op for op, has in (("npu_a", a), ("npu_b", b)) if has)
        )
        for a, b in product((True, False), repeat=2)
    ]
    ruled_out = [where for where in answers if not gate.could_hold(where)]
    assert gate.needs_torch_npu(RELEASE) is (gate.could_hold(RELEASE) and bool(ruled_out))
