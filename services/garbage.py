"""When dead memory is given back: at the end of a session, not when a quarter more has come.

A session leaves cycles behind (tasks, connections, tracebacks). Python looks through its oldest
objects only once a quarter as many again have come, and with the libraries of a stage loaded that
takes hundreds of calls: memory grows by megabytes a call until then. The C library keeps freed
pictures, of 10 MB each, for as long as something small lies above them.
"""

import ctypes
import gc


def settle() -> None:
    """What is here now stays for good: it is not looked through again."""
    gc.collect()
    gc.freeze()


def sweep() -> None:
    """Free what a session left behind: milliseconds, in a process that has settled."""
    if gc.get_freeze_count():
        gc.collect()
        _trim()


def _trim() -> None:
    """Call `malloc_trim` of glibc; other C libraries give back by themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
