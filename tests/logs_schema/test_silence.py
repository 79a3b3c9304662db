from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from factory.settings import ScheduleSettings
from factory.status import status
from logs_schema.rows import INTERACTION
from logs_schema.silence import silent
from logs_schema.store import save_records
from logs_schema.tables import now
from tests.logs_schema.log_examples import record

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIMIT = 2 * DAY
END = now().replace(minute=0, second=0, microsecond=0)


def log(engine: Engine, source: str, moments: Iterable[datetime]) -> None:
    save_records(
        engine,
        [record(n, source=source, source_id=f"{source}-{n}", occurred_at=moment) for n, moment in enumerate(moments)],
    )


def every(step: timedelta, begin: datetime, end: datetime) -> list[datetime]:
    return [begin + n * step for n in range(int((end - begin) / step) + 1)]


def test_one_application_that_falls_silent_is_told_by_name(engine: Engine) -> None:
    log(engine, "web", every(3 * HOUR, END - 20 * DAY, END))
    log(engine, "desk", every(6 * HOUR, END - 20 * DAY, END - 3 * DAY))
    assert silent(engine, after=4 * DAY) == ()
    (problem,) = silent(engine, after=LIMIT)
    assert problem == (
        f"desk has logged nothing since {END - 3 * DAY:%Y-%m-%d %H:%M} UTC (3 days) while others go on; "
        "before, it logged 4.06 records a day and was silent for 6 h at the longest; look at what it exports"
    )
    found = status(engine, schedule=ScheduleSettings(), miner_version="m")
    assert found.problems == (problem,) and problem in found.text()


def test_who_logs_rarely_came_once_or_left_long_ago_raises_no_alarm(engine: Engine) -> None:
    log(engine, "web", every(6 * HOUR, END - 28 * DAY, END))
    log(engine, "weekly", every(7 * DAY, END - 27 * DAY, END - 6 * DAY))
    log(engine, "irregular", [END - n * DAY for n in (25, 24, 18, 17, 11)])
    log(engine, "evaluation set", every(HOUR / 60, END - 5 * DAY, END - 5 * DAY + HOUR))
    log(engine, "retired", every(6 * HOUR, END - 28 * DAY, END - 15 * DAY))
    log(engine, "once", [END - 9 * DAY])
    assert silent(engine, after=LIMIT) == ()


def test_when_all_are_silent_it_is_told_once(engine: Engine) -> None:
    for source in ("web", "desk"):
        log(engine, source, every(6 * HOUR, END - 20 * DAY, END - 4 * DAY))
    (problem,) = status(engine, schedule=ScheduleSettings(), miner_version="m").problems
    assert "logs stopped" in problem
    assert silent(engine, after=LIMIT) == ()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 27 * 24), min_size=1, max_size=30, unique=True))
def test_only_a_silence_that_is_new_to_an_application_is_told(engine: Engine, ago: list[int]) -> None:
    with engine.begin() as connection:
        connection.execute(delete(INTERACTION))
    log(engine, "web", [END])
    log(engine, "desk", [END - hours * HOUR for hours in ago])
    hours = sorted(ago)
    gaps = [after - before for before, after in pairwise(hours)]
    alarm = hours[0] > 48 and hours[0] > 2 * max(gaps, default=0) and hours[0] <= hours[-1] - hours[0]
    assert bool(silent(engine, after=LIMIT)) is alarm
