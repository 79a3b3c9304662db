"""Scheduled jobs: one lock for all of them, and a row that tells how each run ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from logs_schema.errors import FactoryError, NotReadyError
from logs_schema.tables import JobRun, now


class Job:
    """A running job; set `outcome` and `report` before its block ends."""

    def __init__(self) -> None:
        self.outcome = "done"
        self.report: dict[str, Any] | None = None


@contextmanager
def job(engine: Engine, name: str, lock: Path) -> Iterator[Job]:
    """Hold the lock and record the run in `job_run`, also when it fails.

    A killed run leaves a row without an outcome, and the operating system frees its lock.

    Raises:
        NotReadyError: another job holds the lock.
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            with Session(engine) as session:
                row = JobRun(job=name)
                session.add(row)
                session.commit()
                run_id = row.id
            running = Job()
            try:
                yield running
            except FactoryError as error:
                running.outcome = f"failed: {error}"
                raise
            except BaseException as error:
                running.outcome = f"failed: {type(error).__name__}"
                raise
            finally:
                with Session(engine) as session:
                    finished = session.get_one(JobRun, run_id)
                    finished.finished_at = now()
                    finished.outcome = running.outcome
                    finished.report = running.report
                    session.add(finished)
                    session.commit()
    except Timeout as error:
        raise NotReadyError(
            f"Another `factory nightly` or `factory retrain` holds {lock}. Run this again when it has ended."
        ) from error


def last_run(engine: Engine, name: str) -> JobRun | None:
    """The newest run of a job, detached; None when it never ran."""
    with Session(engine, expire_on_commit=False) as session:
        statement = select(JobRun).where(JobRun.job == name).order_by(col(JobRun.id).desc()).limit(1)
        return session.exec(statement).first()
