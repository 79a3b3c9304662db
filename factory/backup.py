"""Backing up the store, with the embedded Argilla's database beside it."""

from pathlib import Path

from sqlalchemy import URL, Engine

from labeling.server.serve import DATABASE
from logs_schema.backup import copy_database
from logs_schema.errors import ConfigurationError
from logs_schema.records import Value
from logs_schema.wording import counted


class BackupReport(Value):
    """Copies that were opened, checked and counted."""

    files: dict[str, dict[str, int]]
    """File → table → rows."""

    def text(self) -> str:
        """One line a file."""
        said = [
            f"{file}: {counted(sum(rows.values()), 'row')} in {counted(len(rows), 'table')}, checked and counted"
            for file, rows in self.files.items()
        ]
        return "\n".join([*said, "They hold what your users asked: keep them as safe as the store."])


def backup(engine: Engine, file: Path, argilla_home: Path) -> BackupReport:
    """Copy the store to a file while it is used, and the embedded Argilla's database to `NAME.argilla.db` beside it.

    Raises:
        ConfigurationError: the store is not SQLite, or a file exists already or cannot be written.
        FactoryError: a copy is not sound.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        there = engine.url
        url = URL.create("postgresql", there.username, None, there.host, there.port, there.database).render_as_string()
        raise ConfigurationError(
            f"PostgreSQL has its own online backup: run pg_dump --format=custom --file={file} '{url}', "
            "and pg_restore to bring it back."
        )
    sources = {file: Path(engine.url.database)}
    if (argilla_home / DATABASE).is_file():
        sources[file.with_name(f"{file.stem}.argilla.db")] = argilla_home / DATABASE
    taken = [str(target) for target in sources if target.exists()]
    if taken:
        raise ConfigurationError(f"{', '.join(taken)} exists already: name another file, such as one with the date.")
    return BackupReport(files={str(target): copy_database(source, target) for target, source in sources.items()})
