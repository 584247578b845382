"""An event loop in a thread of its own, for programs without asyncio."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class Portal:
    """Runs coroutines for other threads, which wait for them; starts with the first one."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """What `work` returns or raises; an exception here, such as Ctrl-C, cancels it there.

        Raises:
            RuntimeError: If it is called from there, where it would wait for itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("A callback must not use the session: hand it to another thread.")
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except BaseException:
            future.cancel()  # without effect where it is done
            raise

    def close(self) -> None:
        """Cancels what still runs, and ends the thread; a second time does nothing."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not self.is_running:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # daemon: a client that nobody closed does not keep the program from ending
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="talkingmachines", daemon=True
                )
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
