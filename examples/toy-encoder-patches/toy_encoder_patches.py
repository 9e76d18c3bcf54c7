"""One patch for toy_encoder 1.x."""

from itertools import pairwise

from ascend_patches import Patch, Rewrite, Variant, version_in


def lengths(self, boundaries):
    return [end - begin for begin, end in pairwise(boundaries)]


PATCH = Patch(
    name="toy-segment-lengths",
    summary="segment lengths in one pass",
    why="every layer asks for them, one element at a time",
    upstream=("https://example.org/toy-encoder/pull/1",),
    retire="once toy_encoder 2.0, which has it, is the oldest release in use",
    variants=(
        Variant(
            "1.x",
            gate=version_in("toy-encoder", ">=1.2,<2"),
            rewrites=(
                Rewrite("toy_encoder.attention:Attention.lengths", replace=lengths, fingerprints=("97101aa2fb86e981",)),
            ),
        ),
    ),
)
