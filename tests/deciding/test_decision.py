"""The version proposes, the fingerprints decide: every sentence of that rule, and nothing is overwritten blindly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_patches.deciding.decision import Decision, decide
from ascend_patches.deciding.lock import Entry, Lock, PatchLock
from ascend_patches.declaring.gates import Gate, absent, always, torch_npu_has, version_in, vllm_version_is
from ascend_patches.declaring.patch import Exemption, Part, Patch, Rewrite, Variant
from ascend_patches.declaring.target import Target
from ascend_patches.upstream.environment import Environment
from ascend_patches.upstream.finding import Finding

A, B, C, D = "vllm.a:run", "vllm.b:run", "vllm.c:run", "vllm.d:run"
V15 = Environment({"vllm": "0.15.0"})
V16 = Environment({"vllm": "0.16.0"})
V99 = Environment({"vllm": "0.99.0"})
PENDING = Finding("pending")
ABSENT = Finding("absent", "vllm.a:run: module vllm.a has no run")


def code(fingerprint: str) -> Finding:
    return Finding("code", fingerprint)


def variant(
    name: str, gate: Gate, *targets: str, vouched: tuple[str, ...] = (), relies_on: tuple[str, ...] = ()
) -> Variant:
    return Variant(name, gate, tuple(Rewrite(target, print, fingerprints=vouched) for target in targets), relies_on)


def patch(*variants: Variant, exemptions: tuple[Exemption, ...] = ()) -> Patch:
    return Patch("faster", "A patch for a test.", variants, exemptions)


OLD = variant("old", vllm_version_is("0.15.0"), A)
NEW = variant("new", vllm_version_is("0.16.0"), A)
FASTER = patch(OLD, NEW)
LOCK = Lock(
    {
        "faster": PatchLock(
            {"old": (Entry({A: "code15"}, ("vllm 0.15.0",)),), "new": (Entry({A: "code16"}, ("vllm 0.16.0",)),)},
            (Entry({A: "native"}, ("vllm 0.18.0",)),),
        )
    }
)


def outcome(
    live: Mapping[str, Finding],
    where: Environment = V15,
    declared: Patch = FASTER,
    lock: Lock = LOCK,
    unknown: str = "skip",
    locatable: Callable[[str], bool] = lambda module: True,
) -> Decision:
    """The decision where these targets have been found; all others are still to be imported."""
    return decide(declared, where, lambda target: live.get(target, PENDING), lock, unknown, locatable)


def test_the_proposed_variant_is_applied_to_the_code_it_was_verified_against() -> None:
    decision = outcome({A: code("code15")})
    assert decision == Decision("apply", OLD, "variant old fits: vllm is 0.15.0; its code is that of vllm 0.15.0")


@pytest.mark.parametrize("build", ["0.15.0+cpu", "0.15.0rc1", "0.15.0.dev3+g1234", "0.15.0.post1"])
def test_a_build_of_the_release_is_proposed_the_same_variant(build: str) -> None:
    assert outcome({A: code("code15")}, Environment({"vllm": build})).variant is OLD


def test_code_of_exactly_one_other_variant_gets_that_one_and_the_version_is_said_to_lie() -> None:
    decision = outcome({A: code("code16")}, V15)
    assert (decision.verdict, decision.variant, decision.kind) == ("apply", NEW, "lying version")
    assert "that of vllm 0.16.0" in decision.reason
    assert "vllm is 0.15.0: the version string is not to be trusted" in decision.reason


def test_known_code_is_recognised_under_a_version_no_variant_is_for() -> None:
    decision = outcome({A: code("code16")}, V99)
    assert (decision.verdict, decision.variant, decision.kind) == ("apply", NEW, "lying version")


@pytest.mark.parametrize("version", [None, "dev"])
def test_known_code_under_an_unknown_version_is_recognised_without_calling_that_a_lie(version: str | None) -> None:
    decision = outcome({A: code("code16")}, Environment({"vllm": version}))
    assert (decision.verdict, decision.variant, decision.kind) == ("apply", NEW, "")
    assert decision.reason == f"its code is that of vllm 0.16.0; {NEW.gate.judge(Environment({'vllm': version})).why}"


@pytest.mark.parametrize("where", [V15, V99, Environment({"vllm": None})])
def test_code_that_has_the_idea_already_is_left_alone(where: Environment) -> None:
    decision = outcome({A: code("native")}, where, unknown="apply")
    assert (decision.verdict, decision.kind) == ("skip", "native")
    assert decision.reason == "native: this code has it already, as vllm 0.18.0 had"


def test_unknown_code_is_skipped_with_what_to_run() -> None:
    decision = outcome({A: code("mystery")})
    assert (decision.verdict, decision.variant, decision.kind) == ("skip", OLD, "changed")
    assert decision.reason.startswith("upstream changed: never verified against this code (vllm.a:run mystery)")
    assert decision.reason.endswith("see: ascend-patches diff faster")
    assert decision.ineffective


def test_unknown_code_is_named_with_the_code_that_was_verified() -> None:
    assert "(vllm.a:run mystery); verified was vllm.a:run code15;" in outcome({A: code("mystery")}).reason
    declared = patch(variant("old", vllm_version_is("0.15.0"), A, vouched=("one", "other")))
    reason = outcome({A: code("mystery")}, declared=declared, lock=Lock({})).reason
    assert "verified was vllm.a:run one or other;" in reason


def test_unknown_code_is_patched_only_if_the_settings_say_so() -> None:
    decision = outcome({A: code("mystery")}, unknown="apply")
    assert (decision.verdict, decision.variant, decision.kind) == ("apply", OLD, "unverified")
    assert "not verified" in decision.reason


def test_code_without_source_is_unknown_code() -> None:
    decision = outcome({A: Finding("no source", "no source available")})
    assert (decision.verdict, decision.kind) == ("skip", "changed")
    assert "vllm.a:run (no source available)" in decision.reason


@pytest.mark.parametrize("unknown", ["skip", "apply"])
def test_a_target_that_is_gone_is_never_replaced(unknown: str) -> None:
    decision = outcome({A: ABSENT}, unknown=unknown)
    assert (decision.verdict, decision.kind) == ("skip", "changed")
    assert decision.reason == "upstream changed: vllm.a:run: module vllm.a has no run"


@pytest.mark.parametrize("unknown", ["skip", "apply"])
def test_a_module_that_is_not_there_is_not_waited_for(unknown: str) -> None:
    decision = outcome({}, unknown=unknown, locatable=lambda module: False)
    assert (decision.verdict, decision.kind) == ("skip", "changed")
    assert decision.reason == "upstream changed: there is no module vllm.a"


def test_half_a_variant_is_not_applied_where_the_other_half_cannot_come() -> None:
    two = patch(variant("two", always, A, B, vouched=("known",)))
    decision = outcome({A: code("known")}, declared=two, locatable=lambda module: module != "vllm.b")
    assert (decision.verdict, decision.reason) == ("skip", "upstream changed: there is no module vllm.b")


def test_nothing_is_decided_before_anything_is_imported() -> None:
    assert outcome({}) == Decision("wait", OLD, "variant old fits: vllm is 0.15.0", pending=(Target(A),))
    decision = outcome({}, V99)
    assert (decision.verdict, decision.variant) == ("wait", None)
    assert "the code that is still to be imported decides" in decision.reason


def test_a_version_without_variant_and_code_that_nobody_knows_leave_the_patch_without_effect() -> None:
    decision = outcome({A: code("mystery")}, V99)
    assert (decision.verdict, decision.variant, decision.kind) == ("skip", None, "unsupported")
    assert "vllm is 0.99.0, not ==0.15.0; vllm is 0.99.0, not ==0.16.0" in decision.reason
    assert decision.ineffective


@pytest.mark.parametrize("unknown", ["skip", "apply"])
def test_without_a_proposal_unknown_code_is_never_patched(unknown: str) -> None:
    assert outcome({A: code("mystery")}, V99, unknown=unknown).verdict == "skip"


def test_what_no_version_could_help_is_not_for_this_environment() -> None:
    declared = patch(variant("one", absent("vllm"), A), variant("two", version_in("torch", ">=2"), A))
    decision = outcome({A: code("code15")}, declared=declared)
    assert (decision.verdict, decision.kind, decision.ineffective) == ("skip", "not needed", False)
    assert decision.reason == "not for this environment: one: vllm is installed; two: torch is not installed"


def test_what_is_not_installed_is_named_once_however_many_variants_ask_for_it() -> None:
    both = version_in("vllm", ">=1") & version_in("vllm-ascend", ">=1")
    variants = [variant(f"of {number}", version_in("vllm", ">=1") if number else both, A) for number in range(9)]
    decision = outcome({}, Environment({}), declared=patch(*variants))
    assert decision.reason == "not for this environment: vllm is not installed; vllm-ascend is not installed"


def test_variants_that_share_a_reason_are_counted() -> None:
    variants = [variant(f"v{number}", absent("vllm"), A) for number in range(9)]
    decision = outcome({}, declared=patch(*variants, variant("two", version_in("torch", ">=2"), A)))
    assert decision.reason == (
        "not for this environment: v0, v8 and 7 other variants: vllm is installed; two: torch is not installed"
    )


def test_an_ambiguous_declaration_fails_and_names_the_variants() -> None:
    declared = patch(variant("one", always, A), variant("two", always, A))
    decision = outcome({A: code("code15")}, declared=declared)
    assert (decision.verdict, decision.variant) == ("fail", None)
    assert "variants one and two both fit" in decision.reason
    assert decision.ineffective


def test_code_that_two_other_variants_know_decides_for_neither() -> None:
    known = ("same",)
    declared = patch(
        variant("one", vllm_version_is("1"), A, vouched=known), variant("two", vllm_version_is("2"), A, vouched=known)
    )
    assert outcome({A: code("same")}, declared=declared).verdict == "skip"


def test_a_declaration_may_vouch_for_code_itself() -> None:
    declared = patch(variant("only", always, A, vouched=("mine",)))
    decision = outcome({A: code("mine")}, declared=declared, lock=Lock({}))
    assert decision.verdict == "apply"
    assert decision.reason.endswith("its code is that of the patch's own declaration")


TWO = patch(variant("old", vllm_version_is("0.15.0"), A, B), variant("new", vllm_version_is("0.16.0"), A, B))
LOCK_OF_TWO = Lock(
    {
        "faster": PatchLock(
            {
                "old": (Entry({A: "a15", B: "b15"}, ("vllm 0.15.0",)), Entry({A: "a15c", B: "b15c"}, ("vllm 0.15.1",))),
                "new": (Entry({A: "a16", B: "b16"}, ("vllm 0.16.0",)),),
            },
            (Entry({A: "aN", B: "bN"}, ("vllm 0.18.0",)),),
        )
    }
)


def test_a_variant_over_two_modules_is_applied_once_both_are_there() -> None:
    half = outcome({A: code("a15")}, declared=TWO, lock=LOCK_OF_TWO)
    assert (half.verdict, half.variant, half.pending) == ("wait", TWO.variants[0], (B,))
    assert half.reason.startswith("waiting for the import of vllm.b; variant old fits: vllm is 0.15.0; its code is")
    assert outcome({A: code("a15"), B: code("b15")}, declared=TWO, lock=LOCK_OF_TWO).verdict == "apply"


def in_parts(name: str, gate: Gate) -> Variant:
    """A variant with a part for A, which relies on B, and one for C, which shares the rewrite of D."""
    shared = Rewrite(D, print)
    return Variant(
        name,
        gate,
        parts=(Part("first", (Rewrite(A, print), shared), (B,)), Part("second", (Rewrite(C, print), shared))),
    )


PARTS = patch(in_parts("old", vllm_version_is("0.15.0")), in_parts("new", vllm_version_is("0.16.0")))
LOCK_OF_PARTS = Lock(
    {
        "faster": PatchLock(
            {
                "old": (Entry({A: "a15", B: "b", C: "c15", D: "d"}, ("vllm 0.15.0",)),),
                "new": (Entry({A: "a16", B: "b", C: "c16", D: "d"}, ("vllm 0.16.0",)),),
            },
            (),
        )
    }
)


def parts(live: Mapping[str, Finding], where: Environment = V15, unknown: str = "skip") -> tuple[str, list[str]]:
    """The verdict about PARTS, and which of them can go in place."""
    decided = outcome(live, where, PARTS, LOCK_OF_PARTS, unknown)
    return decided.verdict, [part.name for part in decided.parts]


def test_each_part_of_a_variant_is_applied_once_all_that_it_needs_is_there() -> None:
    first, rest = {A: code("a15"), D: code("d")}, {B: code("b"), C: code("c15")}
    assert parts(first) == ("wait", [])
    assert parts(first | {B: code("b")}) == ("apply", ["first"])
    assert parts(first | {C: code("c15")}) == ("apply", ["second"])
    assert parts(first | rest) == ("apply", ["first", "second"])


def test_a_part_that_is_there_is_not_applied_beside_one_whose_code_nobody_knows() -> None:
    assert parts({A: code("mystery"), C: code("c15"), D: code("d")}) == ("skip", [])


def test_unknown_code_is_patched_in_the_parts_that_are_there_if_the_settings_say_so() -> None:
    assert parts({A: code("mystery"), D: code("d")}, unknown="apply") == ("wait", [])
    assert parts({A: code("mystery"), C: code("c15"), D: code("d")}, unknown="apply") == ("apply", ["second"])


def test_one_part_is_enough_to_find_out_that_the_version_lies() -> None:
    assert parts({C: code("c16")}) == ("wait", [])
    assert parts({C: code("c16"), D: code("d")}) == ("apply", ["second"])


def test_fingerprints_count_only_as_they_were_seen_together() -> None:
    decision = outcome({A: code("a15"), B: code("b15c")}, declared=TWO, lock=LOCK_OF_TWO)
    assert (decision.verdict, decision.kind) == ("skip", "changed")


@pytest.mark.parametrize("first", ["a16", "aN"])
def test_the_rest_is_waited_for_while_another_variant_or_native_code_fits_so_far(first: str) -> None:
    decision = outcome({A: code(first)}, declared=TWO, lock=LOCK_OF_TWO)
    assert (decision.verdict, decision.variant) == ("wait", None)
    assert decision.reason.startswith("variant old is for these versions, but not for this code")


@pytest.mark.parametrize(
    ("first", "second", "verdict", "kind"),
    [("a16", "b16", "apply", "lying version"), ("aN", "bN", "skip", "native"), ("a16", "bN", "skip", "changed")],
)
def test_the_rest_then_decides(first: str, second: str, verdict: str, kind: str) -> None:
    decision = outcome({A: code(first), B: code(second)}, declared=TWO, lock=LOCK_OF_TWO)
    assert (decision.verdict, decision.kind) == (verdict, kind)


def test_nothing_is_waited_for_that_no_code_still_to_come_could_change() -> None:
    decision = outcome({A: code("mystery")}, declared=TWO, lock=LOCK_OF_TWO)
    assert (decision.verdict, decision.kind) == ("skip", "changed")


def test_a_variant_waits_for_what_it_relies_on() -> None:
    declared = patch(variant("only", always, A, vouched=("known",), relies_on=(B,)))
    lock = Lock({"faster": PatchLock({"only": (Entry({A: "known", B: "helper"}, ("vllm 0.15.0",)),)}, ())})
    waiting = outcome({A: code("known")}, declared=declared, lock=lock)
    assert (waiting.verdict, waiting.pending) == ("wait", (B,))
    assert waiting.reason.startswith("waiting for the import of vllm.b; variant only fits: on every release")
    assert outcome({A: code("known"), B: code("helper")}, declared=declared, lock=lock).verdict == "apply"
    assert outcome({A: code("known"), B: code("mystery")}, declared=declared, lock=lock).kind == "changed"


def test_a_capability_that_cannot_be_told_yet_is_not_assumed_for_known_code() -> None:
    declared = patch(variant("only", vllm_version_is("0.15.0") & torch_npu_has("npu_op"), A, vouched=("known",)))
    where = Environment({"vllm": "0.15.0"})
    decision = outcome({A: code("known")}, where, declared=declared)
    assert (decision.verdict, decision.kind) == ("wait", "")
    assert "only a torch_npu that is loaded can tell whether torch_npu has npu_op" in decision.reason
    told = where.supposing({("npu_op", None): True})
    assert outcome({A: code("known")}, told, declared=declared).verdict == "apply"
    lacking = where.supposing({("npu_op", None): False})
    assert outcome({A: code("known")}, lacking, declared=declared).kind == "not needed"


def test_an_exempt_release_is_skipped_with_the_words_of_the_exemption() -> None:
    declared = patch(OLD, exemptions=(Exemption(version_in("vllm", ">=0.18"), "torchair is gone"),))
    decision = outcome({A: code("mystery")}, V99, declared)
    assert decision == Decision("skip", None, "torchair is gone", "not needed")
    native = patch(OLD, exemptions=(Exemption(version_in("vllm", ">=0.18"), "has it", native=True),))
    assert outcome({A: code("mystery")}, V99, native) == Decision("skip", None, "has it", "native")
    assert not decision.ineffective


def test_an_exemption_does_not_keep_known_code_from_being_recognised() -> None:
    declared = patch(OLD, NEW, exemptions=(Exemption(version_in("vllm", ">=0.18"), "has it", native=True),))
    assert outcome({}, V99, declared).verdict == "wait"
    assert outcome({A: code("code15")}, V99, declared).kind == "lying version"


def test_an_exemption_speaks_where_no_variant_could() -> None:
    only = patch(variant("one", version_in("torch", ">=2"), A), exemptions=(Exemption(always, "no torch, no need"),))
    assert outcome({}, declared=only) == Decision("skip", None, "no torch, no need", "not needed")


_targets = [A, B, C]
_fingerprints = st.sampled_from(["x", "y", "z"])
_findings = st.one_of(
    _fingerprints.map(code),
    st.just(PENDING),
    st.just(ABSENT),
    st.just(Finding("no source", "no source available")),
)
_entries = st.builds(Entry, st.dictionaries(st.sampled_from(_targets), _fingerprints), st.just(("some release",)))
_variants = st.builds(
    lambda gate, targets, vouched, relies_on: (gate, tuple(sorted(targets)), tuple(vouched), tuple(relies_on)),
    st.sampled_from(
        [
            always,
            vllm_version_is("0.15.0"),
            vllm_version_is("0.16.0"),
            torch_npu_has("a"),
            ~torch_npu_has("a"),
            absent("b"),
        ]
    ),
    st.sets(st.sampled_from(_targets), min_size=1),
    st.sets(_fingerprints, max_size=1),
    st.sets(st.sampled_from(_targets), max_size=1),
)


@given(
    variants=st.lists(_variants, min_size=1, max_size=3),
    entries=st.lists(st.lists(_entries, max_size=3), min_size=3, max_size=3),
    native=st.lists(_entries, max_size=2),
    findings=st.fixed_dictionaries(dict.fromkeys(_targets, _findings)),
    version=st.sampled_from(["0.15.0", "0.16.0", "0.99", "dev", None]),
    unknown=st.sampled_from(["skip", "apply"]),
    there=st.sets(st.sampled_from(["vllm.a", "vllm.b", "vllm.c"])),
)
def test_nothing_is_ever_overwritten_blindly(variants, entries, native, findings, version, unknown, there) -> None:  # type: ignore[no-untyped-def]
    declared = patch(
        *(
            variant(f"v{index}", gate, *targets, vouched=vouched, relies_on=relies_on)
            for index, (gate, targets, vouched, relies_on) in enumerate(variants)
        )
    )
    lock = Lock(
        {"faster": PatchLock({f"v{index}": tuple(entries[index]) for index in range(len(variants))}, tuple(native))}
    )
    where = Environment({"vllm": version})
    decision = decide(declared, where, findings.__getitem__, lock, unknown, there.__contains__)
    if decision.verdict != "apply":
        return
    chosen = decision.variant
    assert chosen is not None
    looked = {target: findings[target] for target in chosen.examined}
    assert "absent" not in {found.kind for found in looked.values()}
    assert all(target.partition(":")[0] in there for target, found in looked.items() if found.kind == "pending")
    if decision.kind == "unverified":
        assert unknown == "apply"
        assert chosen.gate.judge(where).holds is True
        return
    live: dict[str, str] = {target: found.text for target, found in looked.items() if found.kind != "pending"}
    assert {found.kind for found in looked.values()} <= {"code", "pending"}
    assert live
    assert lock.verified("faster", chosen, live) is not None
    assert chosen.gate.could_hold(where)
    if chosen.gate.judge(where).holds is not True:
        assert decision.parts
        assert not chosen.gate.needs_torch_npu(where)


# What a variant relies on and some releases lack


RELYING = variant("old", vllm_version_is("0.15.0"), A, relies_on=(B,))
LACKING = Lock(
    {
        "faster": PatchLock(
            {
                "old": (
                    Entry({A: "code15", B: "helper"}, ("vllm 0.15.0",)),
                    Entry({A: "code15", B: "absent"}, ("vllm 0.15.1",)),
                )
            },
            (),
        )
    }
)
B_ABSENT = Finding("absent", "vllm.b:run: module vllm.b has no run")


def relying(found: Finding, lock: Lock = LACKING, locatable: Callable[[str], bool] = lambda module: True) -> Decision:
    return outcome({A: code("code15"), B: found}, declared=patch(RELYING), lock=lock, locatable=locatable)


def test_a_release_may_lack_what_another_has_where_that_was_verified() -> None:
    assert relying(code("helper")).reason.endswith("its code is that of vllm 0.15.0")
    assert relying(B_ABSENT).reason.endswith("its code is that of vllm 0.15.1")


def test_a_module_that_is_not_there_is_as_absent_as_a_function() -> None:
    assert relying(PENDING, locatable=lambda module: module != "vllm.b").verdict == "apply"


def test_a_new_function_where_there_was_none_is_changed_code() -> None:
    decision = relying(code("an override"))
    assert (decision.verdict, decision.kind) == ("skip", "changed")
    assert f"{B} an override" in decision.reason


def test_what_is_wrapped_is_not_absent() -> None:
    decision = relying(Finding("wrapped", "vllm.b:run is wrapped by somebody"))
    assert (decision.verdict, decision.kind) == ("skip", "changed")
    assert "is wrapped by somebody" in decision.reason


def test_what_every_verified_release_has_must_not_be_absent() -> None:
    decision = relying(
        B_ABSENT, Lock({"faster": PatchLock({"old": LACKING.patches["faster"].variants["old"][:1]}, ())})
    )
    assert (decision.verdict, decision.kind) == ("skip", "changed")
    assert B_ABSENT.text in decision.reason
