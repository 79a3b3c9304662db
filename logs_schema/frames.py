"""The store as pandas frames, in one line: `frames.interactions("sqlite:///groundmill.db")`."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Select, func, select

from logs_schema.rows import CONTEXT, FEEDBACK, FINDING, INTERACTION, REVIEW
from logs_schema.store import open_store

if TYPE_CHECKING:
    import pandas as pd

NOT_SHOWN = {"content_hash", "history"}


def interactions(store: str | Engine, *, since: datetime | None = None, source: str | None = None) -> "pd.DataFrame":
    """A row a record, oldest first: its columns, and how many contexts, feedback events and what mean vote it has.

    Args:
        store: the store, or its SQLAlchemy URL.
        since: only records that occurred then or later.
        source: only those of one source.
    """
    same = (FEEDBACK.c.source == INTERACTION.c.source) & (FEEDBACK.c.source_id == INTERACTION.c.source_id)
    query = select(
        *(column for column in INTERACTION.c if column.name not in NOT_SHOWN),
        select(func.count()).where(CONTEXT.c.interaction_id == INTERACTION.c.id).scalar_subquery().label("contexts"),
        select(func.count()).select_from(FEEDBACK).where(same).scalar_subquery().label("feedback"),
        select(func.avg(FEEDBACK.c.value)).where(same).scalar_subquery().label("feedback_value"),
    ).order_by(INTERACTION.c.occurred_at, INTERACTION.c.id)
    query = query.where(INTERACTION.c.occurred_at >= since) if since else query
    return _frame(store, query.where(INTERACTION.c.source == source) if source else query)


def findings(store: str | Engine) -> "pd.DataFrame":
    """A row a mined record: what the miner says of it, with question and answer."""
    about = (INTERACTION.c.source, INTERACTION.c.source_id, INTERACTION.c.occurred_at, INTERACTION.c.query)
    query = (
        select(FINDING, *about, INTERACTION.c.response)
        .join(INTERACTION, INTERACTION.c.id == FINDING.c.interaction_id)
        .order_by(INTERACTION.c.occurred_at, INTERACTION.c.id)
    )
    return _frame(store, query)


def reviews(store: str | Engine) -> "pd.DataFrame":
    """A row a curator's decision on a record, with question and answer."""
    about = (INTERACTION.c.source, INTERACTION.c.source_id, INTERACTION.c.query, INTERACTION.c.response)
    query = (
        select(REVIEW, *about)
        .join(INTERACTION, INTERACTION.c.id == REVIEW.c.interaction_id)
        .order_by(REVIEW.c.reviewed_at, REVIEW.c.id)
    )
    return _frame(store, query)


def _frame(store: str | Engine, query: Select[Any]) -> "pd.DataFrame":
    import pandas as pd

    engine = open_store(store) if isinstance(store, str) else store
    try:
        with engine.connect() as connection:
            result = connection.execute(query)
            frame = pd.DataFrame(result.all(), columns=list(result.keys()))
    finally:
        if engine is not store:
            engine.dispose()
    for name in frame.columns:
        if str(name).endswith("_at"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame
