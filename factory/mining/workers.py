"""Mining in several processes of one machine: they judge, the parent alone writes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

from factory.mining.batch import Batch, Known, Miner, Rules, store_miner
from logs_schema.errors import FactoryError
from logs_schema.store import open_store

AHEAD = 2
"""Batches a worker that are on their way at a time: none has to wait, and few are in memory."""
_MINER: Miner | None = None


def in_processes(url: str, rules: Rules, pages: Iterable[Sequence[str]], workers: int) -> Generator[Batch]:
    """Batches judged by `workers` processes, in the order of the pages. Close it to stop them.

    Args:
        url: The store, with its password; every process opens it for itself.
        rules: What to judge by.
        pages: Ids of the records of each batch.
        workers: Number of processes.

    Raises:
        FactoryError: a process died.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(url, rules))
    waiting: deque[Future[Batch]] = deque()
    try:
        for ids in pages:
            with _no_ctrl_c():
                waiting.append(pool.submit(_judge, ids))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise FactoryError(
            "A mining process died, perhaps for want of memory. What was mined is kept: run `factory mine` again, with "
            "fewer --workers if it happens again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits until the block ends: processes that are started in it never get it, the parent alone does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(url: str, rules: Rules) -> None:
    """Make a process ready; without a parent there is nothing to do for it."""
    global _MINER
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    engine = open_store(url)
    _MINER = store_miner(engine, rules, rules.cheap_stages(), Known(engine))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _judge(ids: Sequence[str]) -> Batch:
    assert _MINER is not None
    return _MINER.judge(ids)
