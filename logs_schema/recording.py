"""The background thread that appends the recorder's lines to files: whole lines, a bounded queue, and no exceptions."""

import atexit
import errno
import logging
import os
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

from logs_schema.wording import counted

QUEUE_BYTES = 64 * 1024 * 1024
"""Bytes that wait to be written at the most; what comes then is dropped."""
LINE_BYTES = 16 * 1024 * 1024
"""A longer line is dropped: the import would refuse it."""
ROTATE_BYTES = 256 * 1024 * 1024
"""In a folder, a file that has grown to this size is followed by another."""
EXIT_SECONDS = 5.0
"""How long the end of the process waits for the queue."""
EVERY_SECONDS = 60.0
"""At the most one warning in this time."""

logger = logging.getLogger(__name__)


class Line(NamedTuple):
    """A line, and the file or folder that it goes to."""

    path: str
    data: bytes
    """A JSON object, without the line's end."""


class Writer:
    """A queue and its thread, which is started by the first line."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # its lock is reentrant: a signal handler may record, too
        self.lines: deque[Line] = deque()
        self.waiting = 0
        """Bytes that were put and are not written yet."""
        self.dropped = 0
        """Lines that were dropped since the last one that was written."""
        self.warned = -EVERY_SECONDS
        self.thread: threading.Thread | None = None

    def put(self, line: Line) -> None:
        """Queue a line, or drop it when the queue is full; never waits for the disk."""
        size = len(line.data)
        with self.changed:
            if size > LINE_BYTES or self.waiting + size > QUEUE_BYTES:
                self.dropped += 1
                return
            self.lines.append(line)
            self.waiting += size
            self._start()
            self.changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written; False when it takes longer."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while self.waiting and (left := deadline - time.monotonic()) > 0:
                if self._start():
                    self.changed.wait(left)
                elif self.lines:
                    self._write(self.lines.popleft())
            return not self.waiting

    def _start(self) -> bool:
        """Whether the thread runs; when no thread can be started just now, the next line tries again."""
        if self.thread is None:
            thread = threading.Thread(target=self._work, name="rag_log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self.thread = thread
            if worker := sys.modules.get("multiprocessing.util"):  # its processes end without atexit
                worker.Finalize(None, flush, exitpriority=0)
        return True

    def _work(self) -> None:
        while True:
            with self.changed:
                while not self.lines:
                    self.changed.wait()
                line = self.lines.popleft()
            self._write(line)

    def _write(self, line: Line) -> None:
        with self.changed:
            dropped, self.dropped = self.dropped, 0
        data = line.data[:-1] + b',"dropped_before":%d}' % dropped if dropped else line.data
        problem = None
        try:
            append(line.path, data + b"\n")
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
            problem = error
        with self.changed:
            self.waiting -= len(line.data)
            self.dropped += dropped + 1 if problem else 0
            self.changed.notify_all()
        if problem or dropped:
            self.warn(dropped + bool(problem), problem)

    def warn(self, records: int, problem: Exception | None) -> None:
        """Say in the application's own log that records were dropped, not more than once in `EVERY_SECONDS`."""
        if time.monotonic() - self.warned < EVERY_SECONDS:
            return
        self.warned = time.monotonic()
        reason = problem or "they came faster than the disk takes them, or were too large"
        logger.warning("rag_log dropped %s: %s", counted(records, "record"), reason)


def append(path: str, data: bytes) -> None:
    """Append one line in one write, after mending a line that was cut off; in a folder, to the file of the day."""
    descriptor = os.open(_file(path, len(data)), os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _file(path: str, size: int) -> Path:
    """The path itself when it is named like a file; else today's first file of the folder that has room."""
    folder = Path(path)
    if folder.suffix == ".jsonl":
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    today = datetime.now(UTC).date().isoformat()
    for number in count():
        file = folder / (f"rag-{today}.{number}.jsonl" if number else f"rag-{today}.jsonl")
        try:
            if file.stat().st_size + size <= ROTATE_BYTES:
                break
        except FileNotFoundError:
            break
    return file


_writer = Writer()


def put(path: str, data: bytes) -> None:
    """Queue one line for a file or folder."""
    _writer.put(Line(path, data))


def drop() -> None:
    """Count a record that cannot be written."""
    with _writer.changed:
        _writer.dropped += 1


def flush(seconds: float = EXIT_SECONDS) -> bool:
    """Wait until every line so far is written; False when that takes longer than `seconds`."""
    return _writer.flush(seconds)


def _at_exit() -> None:
    flush()
    if _writer.dropped:
        _writer.warn(_writer.dropped, None)


def _forked() -> None:
    """A child has no thread and writes none of its parent's lines."""
    global _writer
    _writer = Writer()


os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)
