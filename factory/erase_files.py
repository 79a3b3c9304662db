"""Taking forgotten rows out of files: dataset folders, kept answers, and rejected log lines."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy import Engine, select

from logs_schema.database import writing
from logs_schema.examples import TrainingExample
from logs_schema.files import write_atomic
from logs_schema.forgetting import note_examples, tainted
from logs_schema.importers.read import EXCERPT
from logs_schema.marks import Kind, mark
from logs_schema.records import Value, passage_hash
from logs_schema.tables import DatasetVersion
from logs_schema.taxonomy import Split
from logs_schema.wording import counted
from training.answer_cache import forget_answers, prompt_key

DATASET = DatasetVersion.__table__  # type: ignore[attr-defined]
NOTE = "forgotten.json"
"""File of a dataset folder that says how many rows were taken out."""


class FilesGone(Value):
    """Lines taken out of files."""

    dataset_rows: int = 0
    answers: int = 0
    """Answers of models, kept by evaluations."""
    rejected_lines: int = 0

    def text(self) -> str:
        """One line."""
        return (
            f"Taken out of files: {counted(self.dataset_rows, 'dataset row')}, "
            f"{counted(self.answers, 'kept answer')}, {counted(self.rejected_lines, 'rejected log line')}."
        )


def erase_from_files(
    engine: Engine,
    *,
    records: Collection[str],
    passages: Collection[str],
    documents: Collection[str],
    key: bytes,
    answers: Sequence[Path],
) -> FilesGone:
    """Take rows out of every dataset folder, and the answers that models gave to them out of the caches.

    The manifest of a dataset stays what it was when adapters learned from it, so that the folder no
    longer fits it: nothing trains on it any more. `forgotten.json` says why.

    Args:
        engine: the store, which notes the rows as forgotten.
        records: ids of records whose rows go.
        passages: hashes of passages that go with every row that shows them.
        documents: hashes (`marks.mark`) of documents, likewise.
        key: the store's key.
        answers: folders with kept answers.
    """
    with engine.connect() as connection:
        folders = {row.id: Path(row.path) for row in connection.execute(select(DATASET.c.id, DATASET.c.path))}
    rows = dropped = 0

    def goes(row: TrainingExample) -> bool:
        return row.record_id in records or any(
            passage_hash(context.text) in passages
            or (documents and context.doc_id and mark(key, Kind.document, context.doc_id).hash in documents)
            for context in row.contexts
        )

    for dataset_id, folder in sorted(folders.items()):
        for split in Split:
            file = folder / f"{split.value}.jsonl"
            lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
            read = [(line, TrainingExample.model_validate_json(line)) for line in lines if line.strip()]
            doomed = [row for _, row in read if goes(row)]
            if not doomed:
                continue
            with writing(engine) as connection:
                note_examples(connection, [(dataset_id, row.example_id) for row in doomed])
            # the rows go last: they tell which answers belong to them, should this be cut off
            keys = {prompt_key(row.prompt) for row in doomed}
            names = {row.example_id for row in doomed}
            dropped += sum(forget_answers(place, keys) + _drop_examples(place, names) for place in answers)
            write_atomic(file, b"".join(line for line, row in read if row.example_id not in names))
            rows += len(doomed)
        with engine.connect() as connection:
            taint = tainted(connection).get(dataset_id)
        if taint and folder.is_dir():
            write_atomic(folder / NOTE, (json.dumps({"rows": taint.model_dump()}, indent=2) + "\n").encode())
    return FilesGone(dataset_rows=rows, answers=dropped)


def erase_rejects(folder: Path, names: Collection[str]) -> int:
    """Take lines that name one of these ids out of the rejects files, and lines too long to tell; how many."""
    wanted = {json.dumps(name, ensure_ascii=ascii_only) for name in names for ascii_only in (True, False)}
    count = 0
    for file in sorted(folder.glob("*.rejects.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not _is_about(json.loads(line)["text"], wanted)]
        count += len(lines) - len(kept)
        if not kept:
            file.unlink()
        elif len(kept) < len(lines):
            write_atomic(file, "".join(kept).encode(), mode=0o600)
    return count


def _is_about(text: str, names: Collection[str]) -> bool:
    return len(text) >= EXCERPT or any(name in text for name in names)


def _drop_examples(folder: Path, names: Collection[str]) -> int:
    """Take the lines of some examples out of the answers that evaluations compared."""
    count = 0
    for file in sorted(folder.glob("*/answers.jsonl")):
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line).get("example_id") not in names]
        if len(kept) < len(lines):
            count += len(lines) - len(kept)
            write_atomic(file, b"".join(kept))
    return count
