"""Mining in several processes of one machine: they judge, the parent alone writes."""

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

from factory.mining.batch import Batch, Known, Miner, Rules, store_miner
from logs_schema.processes import Processes
from logs_schema.store import open_store

DIED = (
    "A mining process died, perhaps for want of memory. What was mined is kept: run `factory mine` again, with "
    "fewer --workers if it happens again."
)
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
    with closing(Processes(workers, _start, (url, rules), DIED)) as processes:
        yield from processes.in_order(_judge, pages)


def _start(url: str, rules: Rules) -> None:
    global _MINER
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    engine = open_store(url)
    _MINER = store_miner(engine, rules, rules.cheap_stages(), Known(engine))


def _judge(ids: Sequence[str]) -> Batch:
    assert _MINER is not None
    return _MINER.judge(ids)
