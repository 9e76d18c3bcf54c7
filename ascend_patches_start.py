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
        from ascend_patches.starting.waking import take_over
    except ImportError as error:
        # PYTHONPATH reached an interpreter whose environment lacks the toolkit, or half of it was removed.
        complaint = "no patch is on, the toolkit cannot be imported: %s" % error  # noqa: UP031
        if os.environ.get("ASCEND_PATCHES", "").strip().lower() == "strict":
            # No ImportError: whoever treats vLLM as optional must not take it for an absent package.
            raise RuntimeError("strict mode: " + complaint)  # noqa: B904 - has to compile on Python 2
        del roots[:]
        if sys.stderr is not None:
            sys.stderr.write("ascend_patches: " + complaint + "\n")
        return None
    return take_over(this, name, path, target)


def run_next_sitecustomize():  # type: ignore[no-untyped-def]
    """Import the sitecustomize that this one hides, in its place, as if this one were not there."""
    folder = os.path.dirname(__file__)
    behind = sys.path.index(folder) + 1 if folder in sys.path else len(sys.path)
    # What stands in front of our folder has run already: it is what brought Python here.
    front, rest = sys.path[:behind], sys.path[behind:]
    sys.path[:] = rest
    del sys.modules["sitecustomize"]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = this
    finally:
        # The next one may have changed the path: what it put first stays first.
        place = sys.path.index(rest[0]) if rest and rest[0] in sys.path else 0
        sys.path[place:place] = front


if sys.version_info >= (3, 10) and os.environ.get("ASCEND_PATCHES", "").strip().lower() != "off":
    sys.meta_path.insert(0, this)
if __name__ == "sitecustomize":
    run_next_sitecustomize()  # type: ignore[no-untyped-call]
