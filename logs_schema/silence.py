"""Has one application gone silent while others go on? Each against its own past."""

from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import Engine, String, cast, func, select

from logs_schema.clocks import newest_moment
from logs_schema.rows import INTERACTION

PAST = timedelta(days=28)
"""Before the newest record of all: what an application's pace is read from."""
LONGER = 2
"""Times its longest gap that an application must be silent for: a second weekend in a row is no alarm."""


def silent(engine: Engine, *, after: timedelta) -> tuple[str, ...]:
    """Applications (`source` of their records) that have gone silent while others go on, one sentence each.

    An application is silent when it has logged nothing for longer than `after`, for more than `LONGER` times the
    longest gap in its own past, and for no longer than it had been logging before: one that logs rarely, that came
    once (an evaluation set), or that was retired long ago raises no alarm. Silence counts up to the newest record of
    all.

    Args:
        engine: the store.
        after: silence of any application that is never told.
    """
    moment = INTERACTION.c.occurred_at
    hour = func.substr(cast(moment, String), 1, 13)
    told: dict[str, list[tuple[datetime, datetime, int]]] = defaultdict(list)
    with engine.connect() as connection:
        end = newest_moment(connection)
        if end is None:
            return ()
        within = (moment > end - PAST, moment <= end)
        found = select(INTERACTION.c.source, func.min(moment), func.max(moment), func.count()).where(*within)
        for source, first, last, count in connection.execute(found.group_by(INTERACTION.c.source, hour)):
            told[source].append((first, last, count))
    problems = []
    for source, hours in sorted(told.items()):
        hours.sort()
        begin, last = hours[0][0], hours[-1][1]
        longest = max((later[0] - earlier[1] for earlier, later in pairwise(hours)), default=timedelta())
        silence = end - last
        if max(after, LONGER * longest) < silence <= last - begin:
            a_day = sum(count for *_, count in hours) / ((last - begin) / timedelta(days=1))
            problems.append(
                f"{source} has logged nothing since {last:%Y-%m-%d %H:%M} UTC ({_length(silence)}) while others go on; "
                f"before, it logged {a_day:,.3g} records a day and was silent for {_length(longest)} at the longest; "
                "look at what it exports"
            )
    return tuple(problems)


def _length(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
