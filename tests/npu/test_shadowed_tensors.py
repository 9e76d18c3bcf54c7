"""Shadow runs of functions of tensors: what the two runs see of each other, and where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ascend_patches.declaring.gates import always
from ascend_patches.declaring.patch import Patch, Rewrite, Variant
from ascend_patches.npu.encoder_call import current_call, encoder_call
from ascend_patches.replacing.find import Found
from ascend_patches.settings.model import Choice
from ascend_patches.shadow import run
from ascend_patches.shadow.copies import Room
from ascend_patches.shadow.patch_shadow import Callbacks, PatchShadow

TARGET = f"{__name__}:Layer.forward"


class Shadowed(NamedTuple):
    """A function with a shadow in front of it, and what was said about it."""

    call: Callable[..., Any]
    patch: PatchShadow
    said: list[str]
    reverted: list[str]

    @property
    def counts(self) -> tuple[int, int, int]:
        counts = self.patch.counts
        return counts.compared, counts.mismatches, counts.left_out


def shadowed(original: Callable[..., Any], replacement: Callable[..., Any], *, rank_local: bool = False) -> Shadowed:
    owner = type("Layer", (), {"forward": staticmethod(original)})
    rewrite = Rewrite(TARGET, replace=replacement, rank_local=rank_local)
    patch = Patch("quick", "a patch for a test", (Variant("only", always, (rewrite,)),))
    said: list[str] = []
    reverted: list[str] = []
    callbacks = Callbacks(said.append, lambda: None, lambda name, reason: reverted.append(reason))
    shadow = PatchShadow(patch, Choice(True, "", {}, "skip", shadow=1.0, quarantine=1), callbacks)
    found = Found(owner, "forward", staticmethod(original), False)
    installed = shadow.in_front(rewrite, found, staticmethod(replacement))
    return Shadowed(installed.__func__, shadow, said, reverted)


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def triple(x: torch.Tensor) -> torch.Tensor:
    return x * 3


# What the two runs see of each other


def test_both_start_from_the_same_tensor_and_only_the_replacement_changes_it() -> None:
    def in_place(x: torch.Tensor) -> torch.Tensor:
        return x.add_(1).clone()

    shadow, x = shadowed(in_place, in_place), torch.zeros(3)
    assert shadow.call(x).tolist() == [1, 1, 1]
    assert (x.tolist(), shadow.counts) == ([1, 1, 1], (1, 0, 0))


@dataclasses.dataclass
class Metadata:
    lengths: list[torch.Tensor]
    name: str = "prefill"


def test_tensors_in_containers_and_records_are_copied_as_well() -> None:
    def in_place(metadata: Metadata, parts: dict[str, tuple[torch.Tensor, ...]]) -> torch.Tensor:
        return metadata.lengths[0].add_(parts["x"][0].add_(1)).clone()

    shadow = shadowed(in_place, in_place)
    metadata, parts = Metadata([torch.zeros(2)]), {"x": (torch.zeros(2),)}
    shadow.call(metadata, parts=parts)
    assert (metadata.lengths[0].tolist(), parts["x"][0].tolist(), shadow.counts) == ([1, 1], [1, 1], (1, 0, 0))


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@pytest.mark.parametrize(
    "given",
    [torch.Size([2, 3]), Pair(torch.ones(1), torch.ones(1)), torch.ones(2, 2).max(0), (1, 2)],
    ids=["size", "named", "of torch", "plain"],
)
def test_a_tuple_stays_of_its_kind(given: Any) -> None:
    kinds: list[type] = []
    shadow = shadowed(lambda x: kinds.append(type(x)), lambda x: None)
    shadow.call(given)
    assert kinds == [type(given)]


def test_one_tensor_in_two_places_stays_one_tensor() -> None:
    def same(x: torch.Tensor, y: torch.Tensor) -> bool:
        return x is y

    shadow, x = shadowed(same, same), torch.zeros(2)
    assert (shadow.call(x, x), shadow.counts) == (True, (1, 0, 0))


def test_tensors_that_share_memory_share_it_in_the_shadow_run() -> None:
    def work(x: torch.Tensor, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x.add_(1)
        return parts[0] * parts[1].sum()

    shadow, x = shadowed(work, work), torch.zeros(4, 3)
    answer = shadow.call(x, x.split([1, 2], dim=1))
    assert (answer.tolist(), shadow.counts) == ([[8.0]] * 4, (1, 0, 0))


def test_a_wrong_answer_that_was_written_into_a_tensor_is_put_right(npu: str) -> None:
    shadow = shadowed(lambda x, out: (out.copy_(x), None)[1], lambda x, out: (out.copy_(x * 2), None)[1])
    out = torch.zeros(3, device=npu)
    with torch.inference_mode():
        inner = torch.zeros(3, device=npu)
        assert shadow.call(torch.ones(3, device=npu), inner) is None
    assert (inner.cpu().tolist(), shadow.counts) == ([1, 1, 1], (1, 1, 0))
    shadow.call(torch.ones(3, device=npu), out)
    assert out.cpu().tolist() == [1, 1, 1]


def test_a_view_of_an_argument_is_answered_as_the_original_answers_it() -> None:
    shadow = shadowed(lambda x: x.add_(1).view(-1), lambda x: x.add_(2).view(-1))
    x = torch.zeros(2, 2)
    assert (shadow.call(x).tolist(), x.tolist()) == ([1, 1, 1, 1], [[1, 1], [1, 1]])


class Cached(torch.nn.Module):
    """A module with a cache too large to be copied, and weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.cache = torch.zeros(2**19)


def of_module(forward: Callable[..., Any], ours: Callable[..., Any]) -> tuple[Callable[..., Any], PatchShadow]:
    patch = shadowed(double, double).patch
    return patch.in_front(Rewrite(TARGET, replace=ours), Found(Cached, "forward", forward, False), ours), patch


def test_a_module_with_modules_in_it_is_compared_and_its_weights_are_shared() -> None:
    seen: list[torch.Tensor] = []

    def forward(self: Cached, x: torch.Tensor) -> torch.Tensor:
        seen.append(self.linear.weight)
        self.linear.calls = getattr(self.linear, "calls", 0) + 1  # type: ignore[assignment]
        return self.linear(x)

    installed, patch = of_module(forward, forward)
    module = Cached()
    with torch.no_grad():
        installed(module, torch.ones(2))
    assert (seen[0] is seen[1], module.linear.calls, patch.counts.compared) == (True, 1, 1)


def test_a_cache_that_is_written_in_place_is_written_once() -> None:
    def forward(self: Cached, x: torch.Tensor) -> torch.Tensor:
        self.cache += 1
        return x * 2

    installed, patch = of_module(forward, forward)
    module = Cached()
    installed(module, torch.ones(2))
    assert (module.cache[0].item(), patch.counts.compared, patch.counts.left_out) == (1, 0, 1)
    assert list(patch.counts.reasons) == ["writes into a tensor that is too large to be copied"]


def test_random_numbers_of_torch_are_drawn_as_if_there_were_no_shadow() -> None:
    torch.manual_seed(3)
    expected = [torch.rand(2).tolist() for _ in range(3)]
    torch.manual_seed(3)
    shadow = shadowed(lambda x: torch.rand(2), lambda x: torch.rand(2))
    assert ([shadow.call(1).tolist() for _ in range(3)], shadow.counts) == (expected, (3, 0, 0))


def test_the_caller_gets_what_the_replacement_answered() -> None:
    answer = torch.ones(2)
    shadow = shadowed(lambda x: x + 1, lambda x: answer)
    assert shadow.call(torch.zeros(2)) is answer


def test_it_works_in_inference_mode(npu: str) -> None:
    shadow = shadowed(double, double)
    with torch.inference_mode():
        answer = shadow.call(torch.ones(2, device=npu))
    assert (answer.cpu().tolist(), answer.is_inference(), shadow.counts) == ([2, 2], True, (1, 0, 0))


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.weight = torch.nn.Parameter(torch.ones(2))


def test_what_a_module_is_assigned_in_the_shadow_run_is_not_seen() -> None:
    def forward(self: Module, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        return x * self.weight + self.seen

    rewrite = Rewrite(TARGET, replace=forward)
    patch = shadowed(double, double).patch
    stand_ins = patch.in_front(rewrite, Found(Module, "forward", forward, False), forward)
    module = Module()
    with torch.no_grad():
        assert [stand_ins(module, torch.zeros(2)).tolist() for _ in range(2)] == [[1, 1], [2, 2]]
    assert (module.seen.item(), patch.counts.mismatches) == (2, 0)


def test_a_shadow_run_knows_nothing_of_the_encoder_call_and_leaves_nothing_in_it() -> None:
    calls: list[object] = []

    def original(x: torch.Tensor) -> torch.Tensor:
        calls.append(current_call())
        with encoder_call() as call:
            call.buffers["of the shadow run",] = x
        return x * 2

    shadow = shadowed(original, double)
    with encoder_call() as call:
        call.buffers["ours",] = 1
        shadow.call(torch.ones(2))
        assert current_call() is call
    assert (calls, call.buffers) == ([None], {("ours",): 1})


def test_an_encoder_call_goes_on_after_an_original_that_failed() -> None:
    def original(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")

    shadow = shadowed(original, double)
    with encoder_call() as call:
        assert shadow.call(torch.ones(2)).tolist() == [2, 2]
        assert current_call() is call
    assert (shadow.patch.counts.original_failed, shadow.reverted) == (1, [])


# What counts as a difference


@pytest.mark.parametrize(
    ("dtype", "off", "differs"),
    [
        (torch.float32, 1e-6, False),
        (torch.float32, 1e-3, True),
        (torch.float16, 1e-3, False),
        (torch.float16, 0.1, True),
        (torch.bfloat16, 1e-2, False),
        (torch.bfloat16, 0.25, True),
    ],
)
def test_it_depends_on_the_type_what_is_rounding(dtype: torch.dtype, off: float, differs: bool) -> None:
    shadow = shadowed(lambda x: x, lambda x: x * (1 + off))
    shadow.call(torch.linspace(0.5, 1, 16, dtype=dtype))
    assert shadow.counts == (1, int(differs), 0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: (x, x * 2),
        lambda x: {"hidden": [x, None]},
        lambda x: Metadata([x]),
        lambda x: None,
        lambda x: x.to(torch.int32),
        lambda x: x.new_zeros((0, 4)),
    ],
    ids=["tuple", "dictionary", "record", "nothing", "integers", "empty"],
)
def test_answers_of_any_structure_are_compared(answer: Callable[[torch.Tensor], Any]) -> None:
    shadow = shadowed(answer, answer)
    shadow.call(torch.ones(2))
    assert shadow.counts == (1, 0, 0)


def test_a_difference_is_told_with_shapes_types_lengths_and_error(npu: str) -> None:
    def attend(query: torch.Tensor, cu_seqlens: torch.Tensor, scale: float | None = None) -> torch.Tensor:
        return query

    shadow = shadowed(attend, lambda query, cu_seqlens, scale=None: query * 2)
    query = torch.ones(1, 6, 2, 8, device=npu, dtype=torch.float16)
    answer = shadow.call(query, cu_seqlens=torch.tensor([0, 2, 6], dtype=torch.int32), scale=0.5)
    error = "off by 1 of the largest value, where 0.004 is rounding"
    given = "query [1, 6, 2, 8] float16 npu:0, cu_seqlens [3] int32 cpu [0, 2, 6], scale 0.5"
    assert shadow.said == [f"quick differs from the original: {TARGET}: {error}; called with {given}"]
    assert torch.equal(answer.cpu(), query.cpu())


def test_after_it_whoever_holds_what_was_installed_gets_the_original() -> None:
    shadow = shadowed(double, triple)
    answers = [shadow.call(torch.ones(1)).item() for _ in range(3)]
    assert (answers, shadow.counts, len(shadow.reverted)) == ([2, 2, 2], (1, 1, 0), 1)


# Where nothing is compared


def test_nothing_is_compared_while_a_graph_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.npu, "is_current_stream_capturing", lambda: True)
    shadow = shadowed(double, triple)
    assert (shadow.call(torch.ones(1)).item(), shadow.counts) == (3, (0, 0, 0))


@pytest.fixture
def dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("dynamo")
def test_a_compiler_sees_the_replacement_alone() -> None:
    shadow = shadowed(double, triple)
    compiled = torch.compile(lambda x: shadow.call(x) + 1, fullgraph=True, backend="eager")
    assert ([compiled(torch.ones(1)).item() for _ in range(2)], shadow.counts) == ([4, 4], (0, 0, 0))


@pytest.mark.usefixtures("dynamo")
def test_what_torch_compiled_is_compiled_again_once_the_patch_is_out() -> None:
    shadow = shadowed(double, triple)
    compiled = torch.compile(lambda x: shadow.call(x) + 1, fullgraph=True, backend="eager")
    compiled(torch.ones(1))
    shadow.patch.retire()
    assert compiled(torch.ones(1)).item() == 3


def test_a_call_for_whose_copies_there_is_no_room_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ROOM", Room(1000))
    shadow = shadowed(double, double)
    for size in (300, 100, 300, 250):
        shadow.call(torch.ones(size))
    assert shadow.counts == (2, 0, 2)


def test_what_a_call_took_of_the_room_is_given_back_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise ValueError

    monkeypatch.setattr(run, "ROOM", Room(1000))
    shadow = shadowed(fail, fail)
    for _ in range(5):
        with pytest.raises(ValueError, match=r"^$"):
            shadow.call(torch.ones(250))
    assert shadow.counts == (5, 0, 0)


@pytest.mark.parametrize(("rank_local", "counts"), [(False, (0, 0, 1)), (True, (1, 0, 0))])
def test_of_several_ranks_none_runs_again_what_may_talk_to_the_others(
    rank_local: bool, counts: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shadow = shadowed(double, double, rank_local=rank_local)
    shadow.call(torch.ones(1))
    assert shadow.counts == counts


def test_what_cannot_be_copied_is_not_compared_and_said_once() -> None:
    class Sealed(torch.Tensor):
        def clone(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            raise RuntimeError("not to be copied")

        def detach(self) -> Any:
            return self

    shadow = shadowed(lambda x: 1, lambda x: 1)
    sealed = torch.ones(2).as_subclass(Sealed)
    assert (shadow.call(sealed), shadow.counts) == (1, (0, 0, 1))
    assert shadow.said[0].endswith("no copies could be made of what it was called with: RuntimeError: not to be copied")


# What is kept


def test_inputs_are_kept_as_tensors_of_the_cpu_that_load_without_anybodys_code(
    npu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_PATCHES_SHADOW_DIR", str(tmp_path))
    shadow = shadowed(lambda x, metadata: x * 2, lambda x, metadata: x.mul_(3))
    shadow.call(torch.ones(2, device=npu), metadata=Metadata([]))
    (file,) = tmp_path.iterdir()
    contents = torch.load(file, weights_only=True)
    (x,) = contents["args"]
    assert (x.device.type, x.tolist(), contents["kwargs"]) == ("cpu", [1, 1], {"metadata": "a Metadata"})


def test_inputs_that_are_too_large_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ascend_patches.shadow import kept

    monkeypatch.setenv("ASCEND_PATCHES_SHADOW_DIR", str(tmp_path))
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    shadow = shadowed(double, triple)
    shadow.call(torch.ones(64))
    assert list(tmp_path.iterdir()) == []
    assert "they are larger than 100 bytes" in shadow.said[-1]


# Memory that several share


def add_and_sum(a: Any, b: Any) -> float:
    a += 1
    return float(b.sum())


def first_of_shared(a: Any, b: Any) -> None:
    b[0] = a.sum()


SHARED: dict[str, Callable[[], tuple[Any, Any]]] = {
    "tensors": lambda: ((a := torch.zeros(8)), a[2:4]),
    "parts of a large one": lambda: ((a := torch.zeros(9_000))[:10], a[5:15]),
    "tensors of two types": lambda: ((a := torch.zeros(8)), a.view(torch.int32)),
    "tensors, transposed": lambda: ((a := torch.zeros(2, 2)), a.t()),
    "arrays": lambda: ((a := np.zeros(8)), a[2:4]),
    "arrays, reversed": lambda: ((a := np.zeros(8)), a[::-1]),
    "array and tensor": lambda: ((a := np.zeros(8)), torch.from_numpy(a)),
}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
@pytest.mark.parametrize("work", [add_and_sum, first_of_shared])
def test_what_shares_memory_does_so_in_both_runs(make: Callable[[], tuple[Any, Any]], work: Callable[..., Any]) -> None:
    plain, given = make(), make()
    expected = [work(*plain) for _ in range(3)]
    shadow = shadowed(work, work)
    assert [shadow.call(*given) for _ in range(3)] == expected
    assert (given[0] == plain[0]).all()
    assert shadow.patch.counts.mismatches == 0


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED)
def test_what_shares_memory_within_an_object_does_so_in_both_runs(make: Callable[[], tuple[Any, Any]]) -> None:
    def forward(self: Any, x: torch.Tensor) -> float:
        return add_and_sum(*self.rows)

    installed, patch = of_module(forward, forward)
    plain, module = make(), Cached()
    module.rows = make()
    expected = [add_and_sum(*plain) for _ in range(3)]
    assert [installed(module, torch.ones(2)) for _ in range(3)] == expected
    assert patch.counts.mismatches == 0


def test_tensors_that_share_memory_are_compared() -> None:
    shadow, row = shadowed(add_and_sum, add_and_sum), torch.zeros(9_000)
    shadow.call(row[:10], row[5:15])
    assert shadow.patch.counts.compared == 1


@pytest.mark.parametrize(
    ("beside", "change"),
    [
        (lambda: torch.ones(1).expand(3), lambda x: None),
        (lambda: torch.zeros(2), lambda x: x.resize_(1)),
        (lambda: np.zeros(2), lambda x: x.resize(4, refcheck=False)),
        (lambda: read_only(), lambda x: None),
    ],
    ids=["one element many times", "tensor of another size", "array of another size", "array to be read only"],
)
def test_what_cannot_be_written_keeps_nothing_else_from_being_put_right(
    beside: Callable[[], Any], change: Callable[[Any], Any]
) -> None:
    def original(x: Any, out: list[int]) -> None:
        change(x)
        out.append(1)

    shadow, given, expected, out = shadowed(original, lambda x, out: out.append(2)), beside(), beside(), []  # type: ignore[var-annotated]
    change(expected)
    shadow.call(given, out)
    assert (out, given.shape) == ([1], expected.shape)


def read_only() -> Any:
    row = np.zeros(3)
    row.flags.writeable = False
    return row
