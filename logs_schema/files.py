"""Writing so that a kill at any moment leaves either the old file or the new one, whole."""

import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED_SECONDS = 3600
"""A `.partial` file that nobody has written to for so long was left by a killed run."""


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` beside `path`, fsync, and rename over it."""
    with file_atomic(path, mode) as partial:
        partial.write_bytes(data)


@contextmanager
def file_atomic(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """Yield an empty file beside `path`, to be written by its name; when the block ends well it becomes `path`.

    What killed runs left (`.NAME.*.partial`, untouched for an hour) is removed first, and in the end whatever was
    put beside the file under its name, such as SQLite's journal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        with suppress(FileNotFoundError):  # another process clears as well
            if leftover.is_file() and time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
                leftover.unlink()
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        for beside in partial.parent.glob(f"{glob.escape(partial.name)}*"):
            beside.unlink(missing_ok=True)
    _fsync_folder(path.parent)


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends well it becomes `path`.

    Leftovers of a killed run (`.NAME.*.partial`) are removed first. An existing `path` is
    replaced as a whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        if path.exists():
            retired = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
            path.rename(retired)
            partial.rename(path)
            shutil.rmtree(retired)
        else:
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
