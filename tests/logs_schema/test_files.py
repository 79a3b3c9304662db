"""Writing whole files: what a killed run left is cleared away, what another process writes is not."""

import os
import time
from pathlib import Path

import pytest

from logs_schema.files import ABANDONED_SECONDS, file_atomic, write_atomic


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*.partial"))


def test_what_a_killed_run_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    file = tmp_path / "a[b].txt"
    old, other = tmp_path / ".a[b].txt.0.partial", tmp_path / ".c.txt.0.partial"
    for leftover in (old, other):
        leftover.write_text("half")
        os.utime(leftover, (0, time.time() - ABANDONED_SECONDS - 60))
    with file_atomic(file) as written:
        assert left(tmp_path) == sorted([written.name, other.name])
        write_atomic(file, b"first")
        assert written.exists()
        written.write_bytes(b"second")
    assert (left(tmp_path), file.read_bytes()) == ([other.name], b"second")


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_atomic(file, b"old")
    with pytest.raises(ValueError, match="no"), file_atomic(file) as partial:
        partial.write_bytes(b"new")
        raise ValueError("no")
    assert (left(tmp_path), file.read_bytes()) == ([], b"old")
    assert file.stat().st_mode & 0o777 == 0o644
