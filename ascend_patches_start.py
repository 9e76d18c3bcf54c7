"""Interpreter start: this module is itself the finder that waits for vLLM, and imports nothing but sys and os.

Python runs it in every process of an environment with the toolkit, through a .pth file or, under the name
sitecustomize, through PYTHONPATH. A module in ``sys.meta_path`` instead of an object of a class, and no more than one
module, because that is what keeps the start of an interpreter within 2 % of a bare one (tools/bench_start).
"""

import os
import sys

roots = ["vllm", "vllm_ascend", *os.environ.get("ASCEND_PATCHES_ROOTS", "").split(",")]
this = sys.modules[__name__]


def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
    """Hand over to the toolkit when one of the roots is looked for; everything else is none of our business."""
    if name not in roots:
        return None
    try:
        from ascend_patches.finder import take_over
    except ImportError as error:
        # PYTHONPATH reached an interpreter whose environment lacks the toolkit, or half of it was removed.
        del roots[:]
        if os.environ.get("ASCEND_PATCHES", "").strip().lower() == "strict":
            raise
        sys.stderr.write("ascend_patches: no patch is on, the toolkit cannot be imported: %s\n" % error)  # noqa: UP031
        return None
    return take_over(this, name, path, target)


def run_next_sitecustomize():  # type: ignore[no-untyped-def]
    """Import the sitecustomize that this one hides, in its place, as if this one were not there."""
    folder = os.path.dirname(__file__)
    place = sys.path.index(folder) if folder in sys.path else len(sys.path)
    ours = sys.path[place : place + 1]
    del sys.path[place : place + 1]
    del sys.modules["sitecustomize"]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = this
    finally:
        # The next one may have changed the path; only our own entry is put back.
        sys.path[place:place] = ours


if sys.version_info >= (3, 10) and os.environ.get("ASCEND_PATCHES", "").strip().lower() != "off":
    sys.meta_path.insert(0, this)
if __name__ == "sitecustomize":
    run_next_sitecustomize()  # type: ignore[no-untyped-call]
