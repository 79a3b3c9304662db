"""Batches of log lines with what they say, read while the ones before them are written."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from sqlalchemy import Engine

from logs_schema.importers.read import Line
from logs_schema.importers.reading import Read, Way, make_ready, read_all
from logs_schema.importers.seen import line_hash, records_of, way_of_reading
from logs_schema.pii.replace import Cleaner
from logs_schema.processes import AHEAD, Processes

ALONE = 4
"""Batches of an import before processes are started for the others: that takes a second, during which more of them
are read here."""
DIED = (
    "A process that reads log lines died, perhaps for want of memory. What was imported is kept: import the files "
    "again, with `workers = 0` under [imports] if it happens again."
)


class Ahead(NamedTuple):
    """A batch of lines."""

    lines: Sequence[Line]
    hashes: Sequence[str | None]
    read: Mapping[int, Read]
    """What those lines say (by place) that have been read already."""


class Readers:
    """Processes that read those lines of the batches to come that the store does not hold."""

    def __init__(self, engine: Engine, clean: Cleaner | None, workers: int) -> None:
        """Start nothing yet; without workers nothing is read ahead."""
        self._engine = engine
        self._clean = clean
        self._workers = workers
        self._alone = ALONE
        self._processes: Processes | None = None
        self._started: Future[list[Read]] | None = None

    def batches(self, batches: Iterable[list[Line]], way: Way) -> Iterator[Ahead]:
        """The batches of a file, in their order."""
        seed = way_of_reading(way.format, way.source, way.occurred_at, self._clean)
        waiting: deque[Callable[[], Ahead]] = deque()
        for lines in batches:
            waiting.append(self._asked(lines, [line_hash(seed, line) for line in lines], way))
            while len(waiting) > (AHEAD * self._workers if self._at_work else 0):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()

    def _asked(self, lines: list[Line], hashes: list[str | None], way: Way) -> Callable[[], Ahead]:
        """Have a batch read, where that is worth it; what is returned waits for it."""
        with self._engine.connect() as connection:
            known = records_of(connection, hashes) if self._workers else {}
        new = [place for place, hash in enumerate(hashes) if hash not in known]
        if new and self._alone:
            self._alone -= 1
        elif new and self._workers and self._processes is None:
            given = (self._engine.url.drivername, self._clean)
            self._processes = Processes(self._workers, make_ready, given, DIED)
            self._started = self._processes.submit(read_all, (way, []))
        if not new or not self._processes or not self._at_work:
            return lambda: Ahead(lines, hashes, {})
        processes, found = self._processes, self._processes.submit(read_all, (way, [lines[place] for place in new]))

        def waited() -> Ahead:
            read: list[Read] = processes.result(found)
            return Ahead(lines, hashes, dict(zip(new, read, strict=True)))

        return waited

    @property
    def _at_work(self) -> bool:
        """Whether the processes have started."""
        return self._started is not None and self._started.done()

    def close(self) -> None:
        """End the processes."""
        if self._processes:
            self._processes.close()
