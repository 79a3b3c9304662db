"""Background jobs without a Redis server: an in-memory one, and a thread that runs the jobs in order.

Stands in for `argilla_server.jobs.queues`, before the application is imported.
"""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fakeredis
from rq import Queue
from rq.job import Job, JobStatus

LOGGER = logging.getLogger(__name__)

JOB_TIMEOUT_DISABLED = -1
REDIS_CONNECTION = fakeredis.FakeStrictRedis()


class ThreadQueue(Queue):  # type: ignore[misc]
    """Runs each job on a thread of its own: within the server's event loop a second loop cannot run."""

    def __init__(self, name: str) -> None:
        super().__init__(name, connection=REDIS_CONNECTION, is_async=False)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"jobs-{name}")

    def run_sync(self, job: Job) -> Any:
        """Hand the job to the thread; it is returned before it has run."""
        self._thread.submit(self._run, job)
        return job

    def _run(self, job: Job) -> None:
        while True:
            super().run_sync(job)
            if job.get_status() != JobStatus.FAILED:
                return
            LOGGER.error("job %s failed; %s retries left", job.func_name, job.retries_left or 0)
            if not job.retries_left:
                return
            pause = job.get_retry_interval()
            job.retries_left -= 1
            time.sleep(pause)


DEFAULT_QUEUE = ThreadQueue("default")
HIGH_QUEUE = ThreadQueue("high")
