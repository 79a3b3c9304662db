"""Start: `python -m embedded --home FOLDER --port N --workspace NAME --curator NAME …`."""

import argparse
import asyncio
import functools
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from .home import fresh_scratch, migrate, settings, take_lock

HOST = "127.0.0.1"


def main() -> None:
    """Prepare the folder, the database and the users, then serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="embedded")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--curator", action="append", default=[])
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the starting process is gone")
    arguments = parser.parse_args()
    if arguments.until_stdin_closes:
        threading.Thread(target=_stop_with_parent, daemon=True).start()
    home: Path = arguments.home
    os.umask(0o077)
    os.chdir(home)
    lock = take_lock(home, f"http://{HOST}:{arguments.port}")
    os.environ.update(settings(home))
    tempfile.tempdir = str(fresh_scratch(home))
    migrate(home)
    _serve(home, arguments.port, arguments.workspace, arguments.curator)
    os.close(lock)


def _serve(home: Path, port: int, workspace: str, curators: list[str]) -> None:
    from . import jobs, page

    sys.modules["argilla_server.jobs.queues"] = jobs  # before anything imports the queues of Redis

    import argilla_server.models.database as models
    import uvicorn
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    from . import search as _registers_itself  # noqa: F401
    from . import users

    # upstream builds the same adapter anew for each record and question: 2.6 times slower
    models.TypeAdapter = functools.cache(models.TypeAdapter)
    event.listen(Engine, "connect", _tune)
    asyncio.run(users.ensure(home, workspace, curators))

    from argilla_server._app import app

    static = next(Path(tempfile.gettempdir()).glob("*/statics"))
    page.cure(static)
    safe = page.with_headers(app, page.security_headers(static))
    uvicorn.run(safe, host=HOST, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5)


def _tune(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
