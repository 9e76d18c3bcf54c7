"""Every known way in which kept sequence lengths went wrong, as a scenario that raises where the result is wrong.

A scenario is given an ``Encoders``: how layers are made, and what surrounds one call of an encoder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from npu.attention_layers import Inputs, Layer, boundaries, exact, inputs

WINDOWS = (4, 4, 4, 4)
FULL = (10, 6)
TOLERANCE = 0.05
"""Rounding to bfloat16 is far below, attention over other sequences far above."""


class WrongResultError(AssertionError):
    """Attention over other sequences than those that were asked for."""


class Encoders:
    """One implementation of attention layers."""

    def __init__(self, make: Callable[..., Layer], call: Callable[[], AbstractContextManager[object]]) -> None:
        self.make = make
        self.call = call

    def blocks(self, *numbers: int) -> list[Layer]:
        return [self.make(f"visual.blocks.{number}.attn") for number in numbers]


def check(layer: Layer, cu_seqlens: torch.Tensor | None, lengths: Sequence[int], given: Inputs | None = None) -> None:
    """Run a layer and compare with float64."""
    given = given if given is not None else inputs(sum(lengths))
    output = layer(given, cu_seqlens).cpu().double()
    error = float((output - exact(given, lengths)).abs().max())
    if not error < TOLERANCE:
        raise WrongResultError(f"off by {error} for {list(lengths)}")


def case_01_window_and_full_attention_alternate(encoders: Encoders) -> None:
    windows, full = boundaries(WINDOWS), boundaries(FULL)
    with encoders.call():
        for layer, windowed in zip(encoders.blocks(0, 1, 2, 3), (True, True, False, True), strict=True):
            check(layer, *((windows, WINDOWS) if windowed else (full, FULL)))


def case_02_full_attention_comes_first(encoders: Encoders) -> None:
    windows, full = boundaries(WINDOWS), boundaries(FULL)
    with encoders.call():
        for layer, windowed in zip(encoders.blocks(0, 1, 2), (False, True, True), strict=True):
            check(layer, *((windows, WINDOWS) if windowed else (full, FULL)))


def case_03_more_digits_in_the_prefix(encoders: Encoders) -> None:
    layers = [encoders.make(f"model.2.visual.blocks.{number}.attn") for number in (0, 1)]
    for lengths in (FULL, WINDOWS):
        with encoders.call():
            cu_seqlens = boundaries(lengths)
            for layer in layers:
                check(layer, cu_seqlens, lengths)


def case_04_no_digits_in_the_prefix(encoders: Encoders) -> None:
    for prefix in ("funaudiochat_audio_tower.attn", ""):
        with encoders.call():
            check(encoders.make(prefix), boundaries(FULL), FULL)


def case_05_digits_that_are_not_a_layer(encoders: Encoders) -> None:
    block, pooling = (
        encoders.make("vision_backbone.blocks.0.attn"),
        encoders.make("vision_backbone.image_pooling_2d.attn"),
    )
    with encoders.call():
        check(block, boundaries(FULL), FULL)
        check(pooling, None, (2,) * 8, inputs(2, batch=8))


def case_06_no_boundaries_at_a_later_layer(encoders: Encoders) -> None:
    first, merger = encoders.blocks(0, 1)
    with encoders.call():
        check(first, None, (8, 8), inputs(8, batch=2))
        check(merger, None, (4, 4, 4, 4), inputs(4, batch=4))


def case_07_the_first_layer_that_runs_is_not_layer_0(encoders: Encoders) -> None:
    layers = encoders.blocks(2, 3)
    for lengths in (FULL, WINDOWS):
        with encoders.call():
            cu_seqlens = boundaries(lengths)
            for layer in layers:
                check(layer, cu_seqlens, lengths)


def case_08_two_encoders_take_turns(encoders: Encoders) -> None:
    images, audio = encoders.blocks(0, 1), encoders.blocks(5, 6)
    image_boundaries, audio_boundaries = boundaries(FULL), boundaries(WINDOWS)
    with encoders.call():
        check(images[0], image_boundaries, FULL)
        with encoders.call():
            check(audio[0], audio_boundaries, WINDOWS)
        check(images[1], image_boundaries, FULL)
    with encoders.call():
        check(audio[1], audio_boundaries, WINDOWS)


def case_08_two_forwards_interleaved_on_threads(encoders: Encoders) -> None:
    _in_lockstep(encoders, [FULL, WINDOWS])


def case_08_two_forwards_interleaved_on_streams(encoders: Encoders) -> None:
    streams = [torch.npu.Stream(), torch.npu.Stream()]
    requests = [(boundaries(FULL), FULL), (boundaries(WINDOWS), WINDOWS)]
    with encoders.call():
        for layer in encoders.blocks(0, 1, 2):
            for stream, (cu_seqlens, lengths) in zip(streams, requests, strict=True):
                if layer.prefix.endswith("0.attn") and lengths is WINDOWS:
                    continue  # the second forward has not got past its first layer yet
                with torch.npu.stream(stream):
                    check(layer, cu_seqlens, lengths)


def case_09_equal_totals_in_another_split(encoders: Encoders) -> None:
    layers = encoders.blocks(1, 2)
    for lengths in ((4, 12), (12, 4)):
        with encoders.call():
            cu_seqlens = boundaries(lengths)
            for layer in layers:
                check(layer, cu_seqlens, lengths)


def case_10_a_new_tensor_at_the_address_of_an_old_one(encoders: Encoders) -> None:
    memory = boundaries(FULL)
    layers = encoders.blocks(1, 2)
    for lengths in (FULL, FULL[::-1]):
        memory.copy_(boundaries(lengths))
        cu_seqlens = memory.view(-1)
        with encoders.call():
            for layer in layers:
                check(layer, cu_seqlens, lengths)


def case_11_a_buffer_that_is_updated_in_place(encoders: Encoders) -> None:
    with torch.inference_mode():
        buffer = boundaries(FULL)
        layers = encoders.blocks(1, 2)
        for lengths in (FULL, FULL[::-1]):
            buffer.copy_(boundaries(lengths))
            with encoders.call():
                for layer in layers:
                    check(layer, buffer, lengths)


def case_12_what_a_capture_saw_is_not_what_eager_sees(encoders: Encoders) -> None:
    buffer = boundaries(WINDOWS, device="cpu")
    given = inputs(sum(WINDOWS))
    first, second = encoders.blocks(0, 1)
    with encoders.call():
        with torch.npu.graph(torch.npu.NPUGraph()):
            first(given, buffer)
        buffer.copy_(boundaries((1, 2, 3, 10), device="cpu"))
        check(second, buffer, (1, 2, 3, 10))


def case_13_trailing_repeats_and_empty_sequences(encoders: Encoders) -> None:
    padded, plain = (10, 0, 6, 0, 0), FULL
    first, second = encoders.blocks(0, 1)
    with encoders.call():
        check(first, boundaries((16, 0, 0, 0, 0)), (16, 0, 0, 0, 0))
        check(second, boundaries(padded), padded)
    with encoders.call():
        check(second, boundaries(plain), plain)


def case_14_lengths_differ_by_rank_and_some_ranks_are_empty(encoders: Encoders) -> None:
    _in_lockstep(encoders, [FULL, (), WINDOWS])


def case_15_boundaries_on_the_host(encoders: Encoders) -> None:
    with encoders.call():
        check(encoders.make("visual.blocks.1.attn"), boundaries(FULL, device="cpu"), FULL)


def case_15_boundaries_of_int64(encoders: Encoders) -> None:
    with encoders.call():
        check(encoders.make("visual.blocks.0.attn"), boundaries(FULL, dtype=torch.int64), FULL)


def case_15_more_keys_than_queries(encoders: Encoders) -> None:
    with encoders.call():
        check(encoders.make("visual.blocks.0.attn"), boundaries(FULL), FULL, inputs(16, keys_per_query=2))


def case_15_grouped_heads_beside_others(encoders: Encoders) -> None:
    grouped = encoders.make("visual.blocks.1.attn", heads=4, kv_heads=1)
    with encoders.call():
        check(encoders.make("visual.blocks.0.attn"), boundaries(WINDOWS), WINDOWS)
        check(grouped, boundaries(FULL), FULL, inputs(16, heads=4, kv_heads=1))


def case_16_video_by_frames_and_by_clips(encoders: Encoders) -> None:
    frames, clips = (4, 4, 4, 2, 2), (12, 4)
    by_frame, by_clip = boundaries(frames), boundaries(clips)
    spatial, temporal = encoders.blocks(0, 1)
    with encoders.call():
        check(spatial, by_frame, frames)
        check(temporal, by_clip, clips)


CASES: dict[str, Callable[[Encoders], None]] = {
    name: scenario for name, scenario in list(globals().items()) if name.startswith("case_")
}


def _in_lockstep(encoders: Encoders, requests: Sequence[Sequence[int]]) -> None:
    """Each request on a thread of its own, layer by layer at the same time; an empty one skips the forward."""
    running = [lengths for lengths in requests if lengths]
    layers = encoders.blocks(0, 1)
    in_step = threading.Barrier(len(running))
    problems: list[BaseException] = []

    def forward(lengths: Sequence[int]) -> None:
        try:
            cu_seqlens = boundaries(lengths)
            with encoders.call():
                for layer in layers:
                    in_step.wait()
                    check(layer, cu_seqlens, lengths)
                    in_step.wait()
        except threading.BrokenBarrierError:
            pass
        except BaseException as problem:
            problems.append(problem)
            in_step.abort()

    threads = [threading.Thread(target=forward, args=(lengths,)) for lengths in running]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
