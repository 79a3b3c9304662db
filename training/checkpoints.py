"""Checkpoints that prove themselves, so that a killed run resumes from the newest whole one."""

import json
import shutil
from pathlib import Path

from logs_schema.files import write_atomic
from training.base_model import file_hash

PROOF = "sha256.json"
"""Written last into a checkpoint: name → SHA-256 of every file. Without it the checkpoint is not whole."""


def prove(checkpoint: Path) -> None:
    """Write the proof of a checkpoint that was just saved."""
    hashes = {path.name: file_hash(path) for path in sorted(checkpoint.iterdir()) if path.is_file()}
    write_atomic(checkpoint / PROOF, json.dumps(hashes, indent=1).encode())


def newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint whose files are as proved; newer, damaged ones are removed.

    A trainer that resumes from a damaged checkpoint fails, and would fail at every further try.
    """
    found = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True) if folder.is_dir() else []
    for checkpoint in found:
        if _is_whole(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else -1


def _is_whole(checkpoint: Path) -> bool:
    try:
        hashes = json.loads((checkpoint / PROOF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(hashes, dict) and all(
        (checkpoint / name).is_file() and file_hash(checkpoint / name) == digest for name, digest in hashes.items()
    )
