import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import Engine

from factory.jobs import job, last_run
from logs_schema.errors import InputError, NotReadyError


def test_only_one_job_runs_at_a_time(tmp_path: Path, engine: Engine) -> None:
    with (
        job(engine, "nightly", tmp_path / "lock"),
        pytest.raises(NotReadyError, match="Run this again"),
        job(engine, "retrain", tmp_path / "lock"),
    ):
        pass
    assert last_run(engine, "retrain") is None
    run = last_run(engine, "nightly")
    assert run is not None and run.outcome == "done" and run.finished_at is not None


def test_a_failed_job_says_why(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(InputError), job(engine, "nightly", tmp_path / "lock"):
        raise InputError("the log is cut")
    run = last_run(engine, "nightly")
    assert run is not None and run.outcome == "failed: the log is cut"


def test_a_killed_job_frees_the_lock_and_is_seen(tmp_path: Path, engine: Engine, store_url: str) -> None:
    program = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from factory.jobs import job
        from logs_schema.store import open_store
        with job(open_store("{store_url}"), "nightly", Path("{tmp_path}/lock")):
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    killed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(Path.cwd())}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    run = last_run(engine, "nightly")
    assert run is not None and run.outcome is None
    with job(engine, "nightly", tmp_path / "lock"):
        pass
    run = last_run(engine, "nightly")
    assert run is not None and run.outcome == "done"
