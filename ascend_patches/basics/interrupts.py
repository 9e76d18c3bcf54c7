"""Tell an interrupt of the process from an exception that code raised by itself."""

from __future__ import annotations

from types import TracebackType


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception comes from a signal: it belongs to the operator, and nothing may keep it from the process.

    Code that we call may raise anything, SystemExit and KeyboardInterrupt included. Such an exception is an error of
    that code. One that a signal handler raised is not, whatever its class; neither is a KeyboardInterrupt that no
    statement raised, because Python's own handler did.
    """
    if isinstance(error, Exception):
        return False
    frames = list(_frames(error.__traceback__))
    handlers = _codes_of_handlers()
    if any(each.tb_frame.f_code in handlers for each in frames):
        return True
    return isinstance(error, KeyboardInterrupt) and not (frames and _raises(frames[-1]))


def _frames(traceback: TracebackType | None) -> list[TracebackType]:
    found = []
    while traceback is not None:
        found.append(traceback)
        traceback = traceback.tb_next
    return found


def _codes_of_handlers() -> set[object]:
    import signal

    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = (getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers)
    return {code for code in codes if code is not None}


def _raises(traceback: TracebackType) -> bool:
    """Whether the instruction that an exception came from is a raise statement."""
    from opcode import opmap

    return traceback.tb_frame.f_code.co_code[traceback.tb_lasti] == opmap["RAISE_VARARGS"]
