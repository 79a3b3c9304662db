"""Has the coverage of the logs collapsed? The newest ones against those before them."""

from datetime import timedelta
from math import sqrt

from sqlalchemy import Engine

from logs_schema.clocks import newest_moment
from logs_schema.coverage import FIELDS, Coverage, Field, coverage_where, percent
from logs_schema.rows import INTERACTION
from logs_schema.wording import counted

SEEN_BEFORE = 0.05
"""A field that fewer records than this held before cannot collapse."""
NO_CHANCE = 3.0
"""Standard errors that two shares must lie apart before a drop is told: one false alarm in a thousand."""


def collapsed(
    engine: Engine, *, newest: timedelta, trailing: timedelta, drop: float, at_least: int = 50
) -> tuple[str, ...]:
    """Fields that the newest records hold much less often than those before them, one sentence each.

    Feedback comes late: for it, both windows end one `newest` earlier.

    Args:
        engine: the store.
        newest: length of the newest window, up to the newest record that is not dated in the future.
        trailing: length of the window before it.
        drop: a share below this part of what it was counts as collapsed.
        at_least: records in both windows; with fewer, nothing is said.
    """
    moment = INTERACTION.c.occurred_at
    with engine.connect() as connection:
        end = newest_moment(connection)
        if end is None:
            return ()
        windows = [
            [
                coverage_where(connection, moment > edge - newest, moment <= edge),
                coverage_where(connection, moment > edge - newest - trailing, moment <= edge - newest),
            ]
            for edge in (end, end - newest)
        ]
    problems = []
    for field in FIELDS:
        recent, before = windows[field.name in {"with_feedback", "with_correction"}]
        was, now_is = before.share(field), recent.share(field)
        if min(recent.records, before.records) < at_least or was is None or was < SEEN_BEFORE:
            continue
        told = now_is if now_is is not None else 0.0
        if told < drop * was and _apart(field, recent, before) > NO_CHANCE:
            problems.append(
                f"coverage collapsed: {field.what} in {_counts(field, recent)} of the newest {_span(newest)}, "
                f"{_counts(field, before)} in the {_span(trailing)} before; look at what the application logs"
            )
    return tuple(problems)


def _apart(field: Field, recent: Coverage, before: Coverage) -> float:
    """Standard errors between two shares (pooled two-proportion z)."""
    counts = [(getattr(window, field.name), getattr(window, field.of)) for window in (recent, before)]
    (held, whole), (held_before, whole_before) = counts
    if not whole:
        return NO_CHANCE + 1
    pooled = (held + held_before) / (whole + whole_before)
    error = sqrt(pooled * (1 - pooled) * (1 / whole + 1 / whole_before))
    return (held_before / whole_before - held / whole) / error if error else 0.0


def _counts(field: Field, window: Coverage) -> str:
    held, whole = getattr(window, field.name), getattr(window, field.of)
    return f"{percent(held, whole)} ({held:,} of {counted(whole, field.of.removesuffix('s'))})"


def _span(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours:g} h" if hours < 48 else f"{hours / 24:g} days"
