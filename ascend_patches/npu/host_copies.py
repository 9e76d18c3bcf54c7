"""What a forward needs from the host, copied to the device at once.

A copy from ordinary memory makes the host wait for everything that is queued on the device, whether or not it is asked
not to block; from pinned memory it does not. Several tensors are laid into one piece of pinned memory, which costs the
device one copy, and nothing is read on the device before that copy, which the stream orders.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch

_ALIGNMENT = 512
"""Where tensors begin in memory of their own, so that no op finds them less aligned here."""


def to_device(device: torch.device, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """These tensors of the host on a device, in the same order; to be read only, for they share memory."""
    if device.type == "cpu":
        return list(tensors)
    sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
    bounds = list(accumulate((-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes), initial=0))
    packed = torch.empty(bounds[-1], dtype=torch.uint8, device="cpu", pin_memory=True)
    parts = [packed[begin : begin + size] for (begin, _), size in zip(pairwise(bounds), sizes, strict=True)]
    for part, tensor in zip(parts, tensors, strict=True):
        part.view(tensor.dtype).view(tensor.shape).copy_(tensor)
    there = packed.to(device, non_blocking=True)
    return [
        there[begin : begin + size].view(tensor.dtype).view(tensor.shape)
        for (begin, _), size, tensor in zip(pairwise(bounds), sizes, tensors, strict=True)
    ]
