"""Which record is the newest, although clocks of applications may be wrong."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from logs_schema.rows import INTERACTION
from logs_schema.tables import now

CLOCKS_APART = timedelta(hours=1)
"""How far ahead of this machine's clock another one may be."""


def newest_moment(connection: Connection) -> datetime | None:
    """When the newest record occurred; one that is dated in the future says so only when there are no others."""
    moment = INTERACTION.c.occurred_at
    past: datetime | None = connection.scalar(select(func.max(moment)).where(moment <= now() + CLOCKS_APART))
    return past or connection.scalar(select(func.max(moment)))


def dated_in_the_future(connection: Connection) -> int:
    """Records that cannot have occurred yet."""
    ahead = INTERACTION.c.occurred_at > now() + CLOCKS_APART
    return connection.scalar(select(func.count()).select_from(INTERACTION).where(ahead)) or 0
