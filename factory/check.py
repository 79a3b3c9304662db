"""Whether everything is what it was when it was written: the database, passages, datasets, adapters."""

from pathlib import Path

from sqlalchemy import Engine, select

from factory.dataset.folder import problems, read_manifest
from factory.dataset.versions import versions
from logs_schema.errors import FactoryError
from logs_schema.records import passage_hash
from logs_schema.rows import CHUNK, PASSAGE
from logs_schema.views import CheckReport, check_store
from logs_schema.wording import counted
from training.adapter import verify
from training.registry import adapter_list


class FullCheck(CheckReport):
    """As `CheckReport`, with what lies beside the database."""

    passages: int
    """Passages whose text was hashed again."""
    datasets: int
    """Dataset folders whose files were hashed again."""
    adapters: int
    """Adapter folders whose weights were hashed again."""
    notes: tuple[str, ...]
    """What is as it should be, and still worth knowing."""

    def text(self) -> str:
        """Plain text for a terminal."""
        hashed = [
            counted(self.passages, "passage"),
            counted(self.datasets, "dataset"),
            counted(self.adapters, "adapter"),
        ]
        return "\n".join([super().text(), f"Hashed again: {', '.join(hashed)}.", *self.notes])


def check(engine: Engine) -> FullCheck:
    """Check the database (see `check_store`), every passage, every dataset folder and every adapter folder.

    A dataset with forgotten rows is not damaged: its files lack them, and that is noted.
    """
    found = check_store(engine)
    wrong, notes = list(found.problems), []
    passages = 0
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=CHUNK).execute(select(PASSAGE.c.hash, PASSAGE.c.text))
        for row in rows:
            passages += 1
            if passage_hash(row.text) != row.hash:
                wrong.append(f"passage {row.hash}: its text is not what was imported")
    known = versions(engine).versions
    for version in known:
        folder = Path(version.path)
        if version.forgotten:
            notes.append(f"Dataset {version.dataset_id} lacks rows that were forgotten: {version.forgotten.text()}.")
            continue
        try:
            wrong += [f"dataset {version.dataset_id}: {problem}" for problem in problems(folder)]
            if read_manifest(folder) != version.manifest:
                wrong.append(f"dataset {version.dataset_id}: manifest.json is not the one that the store remembers")
        except FactoryError as error:
            wrong.append(f"dataset {version.dataset_id}: {error}")
    adapters = adapter_list(engine).adapters
    for adapter in adapters:
        try:
            verify(Path(adapter.path), adapter.sha256)
        except FactoryError as error:
            wrong.append(f"adapter {adapter.adapter_id}: {error}")
    return FullCheck(
        sound=not wrong,
        problems=tuple(wrong),
        rows=found.rows,
        passages=passages,
        datasets=len(known),
        adapters=len(adapters),
        notes=tuple(notes),
    )
