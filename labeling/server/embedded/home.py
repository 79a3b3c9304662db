"""The server's folder: its lock, its secrets, and its database, migrated so that a kill leaves nothing half-made."""

import fcntl
import importlib.util
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

DATABASE = "argilla.db"
LOCK = "server.lock"
SCRATCH = "scratch"


def take_lock(home: Path, url: str) -> int:
    """Hold the lock for as long as this process lives, and write who holds it; the descriptor comes back."""
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):  # `factory label status` holds it for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.1)
    else:
        sys.exit(f"another server already runs in {home}")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode())
    return descriptor


def kept_secret(file: Path, size: int = 32) -> str:
    """The random secret in `file`, made at the first start."""
    if not file.exists():
        write_private(file, secrets.token_urlsafe(size) + "\n")
    return file.read_text(encoding="ascii").strip()


def write_private(file: Path, text: str) -> None:
    """Replace a file that only its owner may read, whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def settings(home: Path) -> dict[str, str]:
    """Argilla's settings as environment variables; paths are relative to the folder, where the server runs."""
    return {
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{DATABASE}",
        "ARGILLA_DATABASE_SQLITE_TIMEOUT": "30",
        "ARGILLA_SEARCH_ENGINE": "sqlite",
        "ARGILLA_AUTH_SECRET_KEY": kept_secret(home / "session.key"),
        "ARGILLA_AUTH_OAUTH_CFG": "no-oauth.yaml",
        "ARGILLA_CORS_ORIGINS": "[]",
        "ARGILLA_DOCS_ENABLED": "false",
        "ARGILLA_ENABLE_SHARE_YOUR_PROGRESS": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(home / SCRATCH),
    }


def fresh_scratch(home: Path) -> Path:
    """An empty folder for temporary files: every start leaves a copy of the web page there."""
    folder = home / SCRATCH
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def migrate(home: Path) -> None:
    """Bring the database to the schema of the installed server, on a copy that then takes its place.

    SQLite's driver commits each DDL statement, so a kill amid 24 migrations would leave a database
    that neither starts nor migrates.
    """
    origin = importlib.util.find_spec("argilla_server")
    if origin is None or origin.origin is None:
        sys.exit("argilla-server is not installed in this environment")
    configuration = Path(origin.origin).with_name("alembic.ini")
    for leftover in home.glob("migrating-*"):
        leftover.unlink()
    database, partial = home / DATABASE, home / f"migrating-{os.getpid()}.db"
    if database.exists():
        with closing(sqlite3.connect(database)) as connection:
            current = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if current == (_newest(configuration),):
                return
            connection.execute("PRAGMA journal_mode = DELETE")  # fold the write-ahead log in: it belongs to this file
            with closing(sqlite3.connect(partial)) as copy:
                connection.backup(copy)
    subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(configuration), "upgrade", "head"],
        env={**os.environ, "ARGILLA_DATABASE_URL": f"sqlite+aiosqlite:///{partial.name}"},
        cwd=home,
        check=True,
    )
    partial.chmod(0o600)
    partial.replace(database)


def _newest(configuration: Path) -> str | None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    newest: str | None = ScriptDirectory.from_config(Config(str(configuration))).get_current_head()
    return newest
