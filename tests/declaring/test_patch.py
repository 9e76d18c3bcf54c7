"""Declarations: what is refused, what they answer, where the known ones come from; the shipped ones are sound."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import pytest
from support import World

from ascend_patches import catalogue
from ascend_patches.deciding.lock import Lock
from ascend_patches.declaring.gates import Gate, absent, always, torch_npu_has, version_in, vllm_version_is
from ascend_patches.declaring.patch import Exemption, Option, Part, Patch, Rewrite, Variant
from ascend_patches.declaring.registry import Registry
from ascend_patches.errors import DeclarationError
from ascend_patches.patches import PATCHES
from ascend_patches.upstream.environment import Environment


def replacement() -> str:
    """What stands in for upstream's code in these tests."""
    return "ours"


def variant(name: str = "only", gate: Gate = always, target: str = "vllm.engine:run") -> Variant:
    return Variant(name, gate, (Rewrite(target, replacement),))


def patch(*variants: Variant, name: str = "faster", **more: object) -> Patch:
    return Patch(name, "A patch for a test.", variants or (variant(),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["vllm", "vllm:", ":run", "vllm:a b", "vllm.engine.run", "vllm:A.", "vllm::run"])
def test_a_target_names_a_module_and_a_place_in_it(target: str) -> None:
    with pytest.raises(DeclarationError, match=r"not of the form 'package\.module:Class\.attribute'"):
        Rewrite(target, replacement)


def test_a_rewrite_either_replaces_or_goes_around() -> None:
    for replace, around in ((None, None), (replacement, replacement)):
        with pytest.raises(DeclarationError, match="exactly one of replace= and around="):
            Rewrite("vllm:run", replace=replace, around=around)
    with pytest.raises(DeclarationError, match="original_as= is not for it"):
        Rewrite("vllm:run", around=replacement, original_as="upstream")


def test_a_replacement_may_be_named_and_is_then_imported_when_it_is_needed() -> None:
    rewrite = Rewrite("vllm:run", f"{__name__}:World.package")
    assert rewrite.replacement() is World.package
    assert Rewrite("vllm:run", "no.such.module:run").target == "vllm:run"


@pytest.mark.parametrize("gate", [True, False, "vllm ==0.15", None])
def test_a_gate_combined_with_and_or_not_is_caught_when_it_is_declared(gate: object) -> None:
    with pytest.raises(DeclarationError, match=r"combined with &, \| and ~"):
        Variant("only", gate, (Rewrite("vllm:run", replacement),))  # type: ignore[arg-type]


def test_a_variant_rewrites_something_and_nothing_twice() -> None:
    with pytest.raises(DeclarationError, match="has no rewrites"):
        Variant("only", always, ())
    with pytest.raises(DeclarationError, match="rewrites a target twice"):
        Variant("only", always, (Rewrite("vllm:run", replacement), Rewrite("vllm:run", replacement)))
    with pytest.raises(DeclarationError, match="relies on 'vllm'"):
        Variant("only", always, (Rewrite("vllm:run", replacement),), relies_on=("vllm",))


def test_a_variant_may_be_declared_in_parts_that_share_rewrites_and_know_all_that_is_examined() -> None:
    shared = Rewrite("vllm.a:run", replacement)
    model = Rewrite("vllm.b:Model.run", replacement)
    parts = (Part("a", (shared,)), Part("b", (model, shared), relies_on=("vllm.c:Model.__init__",)))
    variant = Variant("only", always, parts=parts)
    assert variant.targets == ("vllm.a:run", "vllm.b:Model.run")
    assert variant.examined == ("vllm.a:run", "vllm.b:Model.run", "vllm.c:Model.__init__")
    assert [part.name for part in variant.parts_without({"vllm.c:Model.__init__"})] == ["a"]


def test_a_variant_without_parts_is_one_part() -> None:
    (part,) = variant("only", target="vllm.engine:run").parts
    assert part.examined == ("vllm.engine:run",)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"parts": (Part("a", ()),), "rewrites": (Rewrite("vllm:run", replacement),)}, "has parts and, beside them"),
        ({"parts": (Part("a", (Rewrite("vllm:run", replacement),)), Part("b", ()))}, "no rewrites, in its part 'b'"),
        (
            {"parts": (Part("a", (Rewrite("vllm:a", replacement),)), Part("a", (Rewrite("vllm:b", replacement),)))},
            "needs a name of its own for each part",
        ),
        (
            {"parts": (Part("a", (Rewrite("vllm:a", replacement),)), Part("b", (Rewrite("vllm:a", replacement),)))},
            "rewrites a target twice: vllm:a",
        ),
    ],
)
def test_parts_have_rewrites_and_names_of_their_own(given: dict[str, object], what: str) -> None:
    with pytest.raises(DeclarationError, match=what):
        Variant("only", always, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "Faster", "two words", "-a", "a-", "a--b", "a_b", "all"])
def test_a_patch_is_named_in_lower_case_words(name: str) -> None:
    with pytest.raises(DeclarationError, match="is not lower-case words joined by"):
        patch(name=name)


@pytest.mark.parametrize("summary", ["", "  ", "two\nlines"])
def test_a_patch_is_summed_up_in_one_line(summary: str) -> None:
    with pytest.raises(DeclarationError, match="summary of one line"):
        Patch("faster", summary, (variant(),))


def test_the_variants_of_a_patch_have_names_of_their_own() -> None:
    with pytest.raises(DeclarationError, match="needs variants, each with a name of its own"):
        patch(variant("a"), variant("a"))
    with pytest.raises(DeclarationError, match="needs variants"):
        Patch("faster", "No variants.", ())


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("enabled", "cannot be the name of an option"),
        ("override", "cannot be the name of an option"),
        ("unknown", "cannot be the name of an option"),
        ("two words", "is not lower-case words"),
        ("a.b", "is not lower-case words"),
    ],
)
def test_an_option_is_named_by_a_free_bare_key(name: str, what: str) -> None:
    with pytest.raises(DeclarationError, match=what):
        patch(options={name: Option(1, "A number.")})


@pytest.mark.parametrize(
    ("option", "admitted", "refused", "expected"),
    [
        (Option(True, "m"), [True, False], [1, 0, "true", None], "true or false"),
        (Option(3, "m"), [0, -4, 2**63 - 1], [True, 1.0, "3", 2**63, -(10**500)], "an integer"),
        (Option(0.5, "m"), [1.5, 2, -1], [True, "1", 10**400], "a number"),
        (Option("x", "m"), ["", "y"], [1, True, ["x"]], "a string"),
        (Option("off", "m", ("off", "auto")), ["off", "auto"], ["on", 1, ""], "one of 'off', 'auto'"),
        (Option("off", "m", ("off",), int), ["off", 4], ["on", True, 1.0], "one of 'off' or an integer"),
        (Option(1, "m", (1, 2)), [1, 2], [True, 1.0, 3], "one of 1, 2"),
        (Option(0, "m", (0,), float), [0, 3, 0.5], [False, "1"], "one of 0 or a number"),
    ],
)
def test_an_option_admits_values_of_its_type(
    option: Option, admitted: list[object], refused: list[object], expected: str
) -> None:
    assert [value for value in admitted if not option.admits(value)] == []
    assert [value for value in refused if option.admits(value)] == []
    assert option.expected() == expected


def test_an_option_refuses_numbers_below_its_least_and_says_so() -> None:
    size = Option("off", "m", ("off",), int, least=1)
    assert [value for value in (-4, 0, 1, 128, "off") if not size.admits(value)] == [-4, 0]
    assert size.expected() == "one of 'off' or an integer from 1 on"


def test_heads_are_never_padded_to_a_size_below_one() -> None:
    (attention,) = (each for each in PATCHES if each.name == "mm-encoder-attention")
    assert [value for value in (-4, 0, 96) if not attention.options["padding"].admits(value)] == [-4, 0]


def test_one_fingerprint_is_no_tuple_of_fingerprints() -> None:
    with pytest.raises(DeclarationError, match=r"the rewrite of vllm:run: fingerprints= takes a tuple: \('97101a'\,\)"):
        Rewrite("vllm:run", replacement, fingerprints="97101a")  # type: ignore[arg-type]


def test_a_number_is_read_as_the_type_of_its_option() -> None:
    assert [type(Option(0.5, "m").read(2)), type(Option(5, "m").read(2))] == [float, int]


@pytest.mark.parametrize(("default", "choices"), [("on", ("off", "auto")), ([], ()), (None, ())])
def test_the_default_of_an_option_is_one_of_its_values(default: object, choices: tuple[str, ...]) -> None:
    with pytest.raises(DeclarationError, match="the default of an option"):
        Option(default, "m", choices)  # type: ignore[arg-type]


def test_a_patch_knows_which_modules_wake_it() -> None:
    both = patch(variant("a", target="vllm.engine:run"), variant("b", target="vllm_ascend.ops:run"))
    assert both.modules == ("vllm.engine", "vllm_ascend.ops")
    assert Registry([both]).roots() == ("vllm", "vllm_ascend")


def test_what_a_replacement_relies_on_is_examined_with_its_targets() -> None:
    relying = Variant("only", always, (Rewrite("vllm.a:run", replacement),), relies_on=("vllm.b:C.__init__",))
    assert relying.examined == ("vllm.a:run", "vllm.b:C.__init__")
    assert relying.modules == ("vllm.a", "vllm.b")
    assert relying.targets == ("vllm.a:run",)


def test_the_first_exemption_that_holds_counts() -> None:
    old, new = Exemption(version_in("vllm", "<0.9"), "too old"), Exemption(always, "has it", native=True)
    exempted = patch(exemptions=(old, new))
    assert exempted.exemption(Environment({"vllm": "0.8"})) is old
    assert exempted.exemption(Environment({"vllm": "0.9"})) is new
    assert patch().exemption(Environment({})) is None


AMBIGUOUS = [
    (vllm_version_is("0.15.0"), version_in("vllm", ">=0.15"), ["one", "other"]),
    (vllm_version_is("0.15.0"), version_in("vllm", ">=0.16"), []),
    (vllm_version_is("0.15.0"), absent("vllm-ascend"), ["one", "other"]),
    (torch_npu_has("a"), ~torch_npu_has("a"), []),
    (torch_npu_has("a"), torch_npu_has("b"), ["one", "other"]),
    (torch_npu_has("a"), ~torch_npu_has("b"), ["one", "other"]),
    (torch_npu_has("a") & vllm_version_is("0.14.0"), torch_npu_has("a"), []),
]


@pytest.mark.parametrize(("one", "other", "ambiguous"), AMBIGUOUS)
def test_two_variants_that_could_both_be_chosen_are_found(one: Gate, other: Gate, ambiguous: list[str]) -> None:
    declared = patch(variant("one", one), variant("other", other))
    assert [found.name for found in declared.ambiguous(Environment({"vllm": "0.15.0"}))] == ambiguous


def surroundings(release: str) -> Environment:
    """What is installed with a release of the lock: "vllm 0.15.0", "vllm-ascend 0.15.0rc1 with vllm 0.15.0"."""
    return Environment(dict(package.split() for package in release.split(" with ")))


def ambiguities(patches: Iterable[Patch], releases: Iterable[str]) -> list[str]:
    return [
        f"{declared.name} on {release}: {' and '.join(found.name for found in several)}"
        for declared, release in product(patches, releases)
        if (several := declared.ambiguous(surroundings(release)))
    ]


def test_an_ambiguity_for_a_release_in_the_lock_is_found() -> None:
    old, new = variant("old", version_in("vllm", "<=0.15")), variant("new", version_in("vllm", ">=0.15"))
    assert ambiguities([patch(old, new)], ["vllm 0.14.0", "vllm 0.16.0"]) == []
    both = "vllm-ascend 0.15.0rc1 with vllm 0.15.0"
    assert ambiguities([patch(old, new)], ["vllm 0.14.0", both]) == [f"faster on {both}: old and new"]
    ascend = variant("ascend", version_in("vllm-ascend", ">=0.13"))
    assert ambiguities([patch(old, ascend)], ["vllm 0.14.0", both]) == [f"faster on {both}: old and ascend"]


def test_no_shipped_patch_is_ambiguous_for_any_release_in_the_lock() -> None:
    assert ambiguities(PATCHES, Lock.read().releases()) == []


def test_every_shipped_patch_says_why_it_is_there_and_when_it_may_go() -> None:
    assert [shipped.name for shipped in PATCHES if not (shipped.why and shipped.retire)] == []


def test_a_second_patch_of_a_name_is_left_out_and_reported() -> None:
    first, second = patch(), patch()
    known = Registry([first])
    known.add(second, "their-patches")
    assert known.patches == {"faster": first}
    assert known.problems == ["a second patch named 'faster', from their-patches, is left out"]


@pytest.fixture
def path(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.syspath_prepend(str(world.folder))
    return world


def test_other_packages_add_patches_one_or_several(path: World) -> None:
    source = (
        "from ascend_patches import *\n"
        "def run(): pass\n"
        "def declared(name): return Patch(name, 's', (Variant('v', always, (Rewrite('vllm:run', run),)),))\n"
        "ONE = declared('one')\n"
        "class Inner: MORE = [declared('two'), declared('three')]\n"
    )
    path.patches(source, module="registry_one", attribute="ONE")
    path.patches(source, module="registry_more", attribute="Inner.MORE")
    known = catalogue.known()
    assert {"one", "two", "three"} <= known.patches.keys()
    assert known.problems == []


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("registry_raises", "1 / 0", "ZeroDivisionError: division by zero"),
        ("registry_empty", "", "AttributeError"),
        ("registry_other", "PATCHES = 3", "names neither a Patch nor a list of them"),
        ("registry_mixed", "PATCHES = ['faster']", "names neither a Patch nor a list of them"),
    ],
)
def test_patches_that_cannot_be_loaded_are_a_problem_with_a_name(
    path: World, module: str, source: str, problem: str
) -> None:
    path.patches(source, module=module)
    problems = catalogue.known().problems
    assert len(problems) == 1
    assert module.replace("_", "-") in problems[0]
    assert f"entry point entry = {module}:PATCHES" in problems[0]
    assert problem in problems[0]
