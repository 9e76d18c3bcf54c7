"""A package that somebody else wrote and that you cannot change."""

from toy_encoder.attention import Attention

__all__ = ["Attention", "encode"]


def encode(boundaries: list[int], layers: int = 27) -> list[int]:
    """Segment lengths, asked for by every layer."""
    attention = Attention()
    for _ in range(layers):
        found = attention.lengths(boundaries)
    return found
