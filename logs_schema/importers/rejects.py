"""The rejects file of an import: what could not be read, where it stood, and why."""

import hashlib
import json
import os
import re
from pathlib import Path
from types import TracebackType
from typing import IO

from logs_schema.errors import ConfigurationError
from logs_schema.importers.read import Line
from logs_schema.pii.replace import Cleaner

KEPT = 10_000
"""Entries of a rejects file at the most; all are counted."""
REASON = 500
"""Characters of a reason at the most: it may quote the log."""


class Rejects:
    """Context manager: collects rejected lines in a file that appears whole when the block ends well.

    Importing the same file again replaces its rejects; without any, the old ones go away. The
    file is readable by its owner only: it holds log text, without personal data when there is a cleaner.
    """

    def __init__(self, folder: Path | None, file: str, clean: Cleaner | None = None) -> None:
        name = "stdin" if file == "-" else Path(file).name
        place = file if file == "-" else str(Path(file).absolute())
        key = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        safe = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:100]
        self.file = file
        self.path = folder / f"{safe}.{key}.rejects.jsonl" if folder else None
        self.count = 0
        self._clean = clean.text if clean else str
        self._stream: IO[str] | None = None

    def add(self, line: Line, reason: str) -> None:
        """Keep one line and the reason."""
        self.count += 1
        if self.path is None or self.count > KEPT + 1:
            return
        if self._stream is None:
            self._stream = self._open(self._partial(self.path))
        told = {"reason": self._clean(reason)[:REASON], "text": self._clean(line.excerpt)}
        entry = {"file": self.file, "line": line.number, **told}
        if self.count > KEPT:
            entry |= {"reason": f"from here on only counted: {KEPT:,} are kept", "text": ""}
        self._stream.write(json.dumps(entry) + "\n")

    def __enter__(self) -> "Rejects":
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Put the file in its place, or throw it away when the import failed."""
        if self.path is None:
            return
        partial = self._partial(self.path)
        if self._stream:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        if self._stream and kind is None:
            partial.replace(self.path)
        elif partial.is_file():
            partial.unlink()
        if self._stream is None and kind is None and self.path.is_file():
            self.path.unlink()

    @staticmethod
    def _partial(path: Path) -> Path:
        return path.with_name(f".{path.name}.partial")

    @staticmethod
    def _open(partial: Path) -> IO[str]:
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            return os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"The rejects folder {partial.parent} cannot be written: {error.strerror}. Name another with --rejects."
            ) from error
