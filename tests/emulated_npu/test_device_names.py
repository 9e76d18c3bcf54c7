"""The calls of torch.npu and torch.accelerator that vLLM and vllm-ascend make, random numbers, and pinned memory."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch

pytestmark = pytest.mark.usefixtures("npu")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda: torch.npu.is_available(), True),
        (lambda: torch.npu.is_initialized(), True),
        (lambda: torch.npu.device_count(), 1),
        (lambda: torch.npu.current_device(), 0),
        (lambda: torch.npu.set_device("npu:0"), None),
        (lambda: torch.npu.set_device(torch.device("npu")), None),
        (lambda: torch.npu.get_device_name(0), "Ascend910B1"),
        (lambda: torch.npu.get_device_properties(0).name, "Ascend910B1"),
        (lambda: torch.npu.get_device_capability(), None),
        (lambda: torch.npu.get_soc_version(), 220),
        (lambda: torch.npu.empty_cache(), None),
        (lambda: torch.npu.set_compile_mode(jit_compile=False), None),
        (lambda: torch.npu.is_current_stream_capturing(), False),
        (lambda: torch.npu.synchronize(), None),
        (lambda: torch.accelerator.is_available(), True),
        (lambda: str(torch.accelerator.current_accelerator()), "npu"),
        (lambda: torch.accelerator.device_count(), 1),
        (lambda: torch.accelerator.current_device_index(), 0),
        (lambda: torch.accelerator.set_device_index(0), None),
        (lambda: torch.accelerator.synchronize(), None),
        (lambda: torch.accelerator.empty_cache(), None),
        (lambda: torch.accelerator.current_stream().stream_id, 0),
        (lambda: torch.get_device_module("npu") is torch.npu, True),
        (lambda: torch.get_device_module() is torch.npu, True),
    ],
)
def test_call_answers_as_one_idle_device(call: Callable[[], object], answer: object) -> None:
    assert call() == answer


def test_device_contexts_are_those_of_the_one_device() -> None:
    with torch.npu.device(0), torch.accelerator.device_index(0):
        assert torch.npu.current_device() == 0


@pytest.mark.parametrize("name", ["set_device", "get_device_name", "device", "synchronize", "mem_get_info"])
def test_second_device_is_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match="one device"):
        getattr(torch.npu, name)("npu:1")


def test_device_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a npu device"):
        torch.npu.set_device("cpu")


def test_unknown_name_says_where_to_add_it() -> None:
    with pytest.raises(AttributeError, match=r"no 'levitate'.*_npu_module\.py"):
        torch.npu.levitate()


def test_memory_in_use_follows_the_tensors() -> None:
    gc.collect()
    before = torch.npu.memory_allocated()
    tensor = torch.zeros(1024, device="npu")
    during = torch.npu.memory_allocated()
    del tensor
    assert (during - before, torch.npu.memory_allocated() - before) == (4096, 0)


def test_peak_memory_starts_again_when_reset() -> None:
    torch.zeros(1024, device="npu")
    torch.npu.reset_peak_memory_stats()
    assert torch.npu.max_memory_allocated() == torch.npu.memory_allocated()


def test_views_use_no_memory() -> None:
    tensor = torch.zeros(1024, device="npu")
    before = torch.npu.memory_allocated()
    views = tensor.view(2, 512).unbind(0)
    assert (len(views), torch.npu.memory_allocated()) == (2, before)


def test_free_and_used_memory_add_up() -> None:
    tensor = torch.zeros(1024, device="npu")
    free, total = torch.npu.mem_get_info()
    assert (free + torch.npu.memory_allocated(), tensor.numel()) == (total, 1024)
    assert torch.accelerator.get_memory_info() == (free, total)


def test_memory_stats_have_the_keys_that_vllm_reads() -> None:
    stats = torch.npu.memory_stats()
    assert stats["allocated_bytes.all.current"] == torch.npu.memory_allocated()
    assert {"allocated_bytes.all.peak", "reserved_bytes.all.current"} <= stats.keys()
    assert torch.accelerator.memory_stats() == stats


# Random numbers


RANDOM: dict[str, Callable[..., torch.Tensor]] = {
    "randn": lambda **options: torch.randn(5, **options),
    "rand": lambda **options: torch.rand(5, **options),
    "randint": lambda **options: torch.randint(0, 100, (5,), **options),
    "randperm": lambda **options: torch.randperm(5, **options),
    "normal": lambda **options: torch.normal(0.0, 1.0, (5,), **options),
}


@pytest.mark.parametrize("name", RANDOM)
def test_factory_draws_from_the_given_generator(name: str) -> None:
    drawn = RANDOM[name](device="npu", generator=torch.Generator("npu").manual_seed(3))
    again = RANDOM[name](device="npu", generator=torch.Generator("npu").manual_seed(3))
    assert (drawn.tolist(), drawn.device) == (again.tolist(), torch.device("npu:0"))


@pytest.mark.parametrize("name", RANDOM)
def test_seeding_torch_repeats_the_numbers_of_the_device(name: str) -> None:
    torch.manual_seed(5)
    first = RANDOM[name](device="npu").tolist()
    torch.manual_seed(5)
    assert RANDOM[name](device="npu").tolist() == first


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(3, device="npu"),
        lambda: torch.empty(3, device="npu").uniform_(),
        lambda: torch.ones(3, device="npu").bernoulli_(0.5),
        lambda: torch.randn(3, out=torch.empty(3, device="npu")),
        lambda: torch.randint(9, (3,), device="npu"),
        lambda: torch.rand_like(torch.ones(3, device="npu")),
        lambda: torch.nn.functional.dropout(torch.ones(3, device="npu")),
        lambda: torch.multinomial(torch.ones(3, device="npu"), 2),
    ],
)
def test_drawing_on_the_device_leaves_the_numbers_of_the_host_alone(draw: Callable[[], object]) -> None:
    before = torch.get_rng_state()
    draw()
    assert torch.equal(torch.get_rng_state(), before)


def test_state_of_the_device_generator_can_be_kept_and_restored() -> None:
    state = torch.npu.get_rng_state()
    first = torch.randn(3, device="npu").tolist()
    torch.npu.set_rng_state(state)
    assert torch.randn(3, device="npu").tolist() == first


def test_fork_rng_restores_the_device_generator() -> None:
    before = torch.npu.get_rng_state()
    with torch.random.fork_rng(device_type="npu"):
        torch.randn(3, device="npu")
    assert torch.equal(torch.npu.get_rng_state(), before)


def test_manual_seed_seeds_the_device() -> None:
    torch.npu.manual_seed_all(11)
    assert torch.npu.initial_seed() == 11


def test_generator_says_its_device() -> None:
    assert torch.Generator(device="npu").device == torch.device("npu:0")
    assert torch.Generator().device == torch.device("cpu")


def test_generators_of_the_host_are_generators_still() -> None:
    assert isinstance(torch.default_generator, torch.Generator)
    assert isinstance(torch.Generator(), torch.Generator)


def test_generator_of_the_host_is_refused_on_the_device() -> None:
    with pytest.raises(RuntimeError, match="Expected a 'npu' device type for generator but found 'cpu'"):
        torch.randn(3, device="npu", generator=torch.Generator())


# Pinned memory


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(3).pin_memory(),
        lambda: torch.empty(3, pin_memory=True),
        lambda: torch.zeros(3, dtype=torch.int32, device="cpu", pin_memory=True),
        lambda: torch.tensor([1, 2], pin_memory=True),
        lambda: torch.zeros_like(torch.ones(2), pin_memory=True),
    ],
)
def test_pinned_memory_says_so(make: Callable[[], torch.Tensor]) -> None:
    tensor = make()
    assert tensor.is_pinned()
    assert tensor.is_cpu


def test_pinned_copy_has_the_same_values() -> None:
    assert torch.arange(3).pin_memory().tolist() == [0, 1, 2]


def test_view_of_pinned_memory_is_pinned() -> None:
    assert torch.ones(4, pin_memory=True)[1:].is_pinned()


def test_ordinary_memory_is_not_pinned() -> None:
    assert not torch.ones(3).is_pinned()
    assert not torch.ones(3, device="npu").is_pinned()


def test_device_memory_cannot_be_pinned() -> None:
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        torch.ones(3, device="npu").pin_memory()


def test_pinned_memory_is_copied_without_blocking() -> None:
    assert torch.arange(3).pin_memory().to("npu", non_blocking=True).tolist() == [0, 1, 2]
