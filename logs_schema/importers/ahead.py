"""Batches of log lines with what they say, read while the ones before them are written."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Engine

from logs_schema.importers.read import Line
from logs_schema.importers.reading import Read, Way, make_ready, read_all
from logs_schema.importers.seen import line_hash, records_of, way_of_reading
from logs_schema.pii.replace import Cleaner
from logs_schema.processes import AHEAD, Processes

ALONE = 4
"""Batches that are read here before a process is started for the others, which takes about a second."""
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
    """Reads what the store does not hold yet of the batches that are still to be written."""

    def __init__(self, engine: Engine, clean: Cleaner | None, workers: int) -> None:
        """Start nothing yet; without workers nothing is read ahead."""
        self._engine = engine
        self._clean = clean
        self._workers = workers
        self._alone = ALONE
        self._processes: Processes | None = None

    def batches(self, batches: Iterator[list[Line]], way: Way) -> Iterator[Ahead]:
        """The batches of a file, in their order."""
        seed = way_of_reading(way.format, way.source, way.occurred_at, self._clean)
        waiting: deque[Callable[[], Ahead]] = deque()
        for lines in batches:
            hashes = [line_hash(seed, line) for line in lines]
            if self._workers and not self._alone:
                waiting.append(self._reading(lines, hashes, way))
                if len(waiting) > AHEAD * self._workers:
                    yield waiting.popleft()()
            else:
                self._alone -= 1
                yield Ahead(lines, hashes, {})
        while waiting:
            yield waiting.popleft()()

    def _reading(self, lines: list[Line], hashes: list[str | None], way: Way) -> Callable[[], Ahead]:
        """Have a batch read; what is returned waits for it."""
        with self._engine.connect() as connection:
            known = records_of(connection, hashes)
        new = [place for place, hash in enumerate(hashes) if hash not in known]
        if not new:
            return lambda: Ahead(lines, hashes, {})
        if self._processes is None:
            given = (self._engine.url.drivername, self._clean)
            self._processes = Processes(self._workers, make_ready, given, DIED)
        found = self._processes.submit(read_all, (way, [lines[place] for place in new]))
        return lambda: Ahead(lines, hashes, dict(zip(new, found(), strict=True)))

    def close(self) -> None:
        """End the processes."""
        if self._processes:
            self._processes.close()
