"""A full disk, or a place that cannot be written: one sentence, the right exit code, nothing half-done."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from logs_schema.errors import ConfigurationError, FactoryError, disk_error

ROOT = Path(__file__).parents[1]
LIMIT = 65_536


def limited(folder: Path, *words: str, limit: int = LIMIT) -> tuple[int, str]:
    """Exit code and stderr of a command none of whose files may grow beyond `limit` bytes."""
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from factory.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_configuration_that_does_not_fit_is_not_there_at_all(tmp_path: Path) -> None:
    code, error = limited(tmp_path, "init", limit=1000)
    assert (code, "Traceback" in error) == (1, False)
    assert "free some disk space" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sqlite_only
def test_a_store_or_a_backup_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    code, error = limited(tmp_path, "mine")
    assert (code, "Traceback" in error) in ((1, False), (2, False))
    assert "groundmill.db" in error

    for leftover in tmp_path.glob("groundmill.db*"):
        leftover.unlink()
    assert limited(tmp_path, "mine", limit=10**9)[0] == 4
    code, error = limited(tmp_path, "db", "backup", "copy.db")
    assert (code, "Traceback" in error) == (1, False)
    assert not list(tmp_path.glob("*copy.db*"))
    with closing(sqlite3.connect(tmp_path / "groundmill.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, error = limited(tmp_path, "init", "file")
    assert (code, "Traceback" in error) == (2, False)
    assert "file" in error and "choose another place" in error


def test_only_what_its_owner_can_mend_is_explained() -> None:
    full, refused, other = (OSError(number, "said") for number in (28, 13, 2))
    assert type(disk_error(full)) is FactoryError
    assert isinstance(disk_error(refused, "here"), ConfigurationError)
    assert disk_error(other) is None


def test_weights_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    from training.disk import weights_into

    weights = {"a": torch.zeros(LIMIT)}
    for save in (
        lambda: save_file(weights, tmp_path / "a.safetensors"),
        lambda: torch.save(weights, tmp_path / "a.pt"),
    ):
        with pytest.raises(FactoryError, match="free some disk space"), weights_into(tmp_path), small_files(LIMIT):
            save()
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    with pytest.raises(SafetensorError), weights_into(tmp_path):
        safe_open(tmp_path / "broken.safetensors", "pt").__enter__()
    with pytest.raises(RuntimeError, match="another"), weights_into(tmp_path):
        raise RuntimeError("another")


def test_what_is_put_beside_a_file_that_failed_goes_with_it(tmp_path: Path) -> None:
    from logs_schema.files import file_atomic

    with pytest.raises(OSError, match="full"), file_atomic(tmp_path / "copy.db") as partial:
        partial.with_name(partial.name + "-journal").write_bytes(b"pages")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []
