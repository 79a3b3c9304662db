"""Work for several processes of one machine; what it gives comes in order, and little of it is in memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from logs_schema.errors import FactoryError

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2
"""Pieces of work a process that are on their way at a time: none has to wait, and few are in memory."""


class Processes:
    """Processes that start when there is work, and end when they are closed or this process ends."""

    def __init__(self, count: int, ready: Callable[..., None], given: tuple[Any, ...], died: str) -> None:
        """Start nothing yet.

        Args:
            count: Number of processes.
            ready: Makes a process ready, before its first piece of work.
            given: What `ready` is called with.
            died: What to tell the user when a process dies.
        """
        self._ahead = AHEAD * count
        self._died = died
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start, initargs=(ready, given))

    def submit(self, work: Callable[[T], R], item: T) -> Future[R]:
        """Have a piece of work done; `result` waits for what it gives.

        Raises:
            FactoryError: a process died.
        """
        with self._told(), _no_ctrl_c():
            return self._pool.submit(work, item)

    def result(self, future: Future[R]) -> R:
        """What a piece of work gave.

        Raises:
            FactoryError: a process died.
        """
        with self._told():
            return future.result()

    def in_order(self, work: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """What the work gives for each item.

        Raises:
            FactoryError: a process died.
        """
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(self.submit(work, item))
            if len(waiting) >= self._ahead:
                yield self.result(waiting.popleft())
        while waiting:
            yield self.result(waiting.popleft())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            raise FactoryError(self._died) from error

    def close(self) -> None:
        """End the processes, when each has done what it is at."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits until the block ends: processes that are started in it never get it, the parent alone does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(ready: Callable[..., None], given: tuple[Any, ...]) -> None:
    """Make a process ready; without a parent there is nothing to do for it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    ready(*given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
