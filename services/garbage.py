"""When Python looks for dead cycles: at the end of a session, not after a quarter more objects.

A session leaves cycles behind (tasks, connections, tracebacks). Python looks through its oldest
objects only once a quarter as many again have come, and with the libraries of a stage loaded that
takes hundreds of calls: memory grows by megabytes a call until then.
"""

import gc


def settle() -> None:
    """What is here now stays for good: it is not looked through again."""
    gc.collect()
    gc.freeze()


def sweep() -> None:
    """Free what a session left behind: milliseconds, in a process that has settled."""
    if gc.get_freeze_count():
        gc.collect()
