"""Looking at findings and at the queue: as a table, as a DataFrame, and one of them in full."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Engine, Select, func, select

from factory.mining.finding import Finding
from logs_schema.errors import NotReadyError
from logs_schema.records import UtcDatetime, Value
from logs_schema.rows import FINDING, INTERACTION
from logs_schema.taxonomy import Failure, Route
from logs_schema.wording import counted

if TYPE_CHECKING:
    import pandas as pd


class FindingSummary(Value):
    """A finding in one line."""

    record_id: str
    failure: str
    secondary: tuple[str, ...]
    route: str
    confidence: float
    query: str
    why: str
    source: str
    source_id: str
    occurred_at: UtcDatetime


class FindingList(Value):
    """Findings, the surest first."""

    findings: tuple[FindingSummary, ...]
    total: int
    """How many there are without the limit."""
    mined: int
    """Records that were mined, with a failure or without."""
    filtered: bool
    """Whether one failure or one route was asked for."""

    def text(self) -> str:
        """One line each, and how many there are."""
        if not self.findings:
            if not self.mined:
                return "No findings: nothing was mined yet. Run `factory mine`."
            of_kind = " of that kind" if self.filtered else ""
            return f"No findings{of_kind}: {counted(self.mined, 'record was', 'records were')} mined."
        rows = [(f.record_id, f.failure, f.route, f"{f.confidence:.2f}", f.query) for f in self.findings]
        shown = f"{len(rows):,} of {counted(self.total, 'finding')}; `factory findings show RECORD` tells why."
        return "\n".join([*table(("record", "failure", "route", "sure", "question"), rows), "", shown])


def list_findings(
    engine: Engine, *, failure: Failure | None = None, route: Route | None = None, limit: int | None = None
) -> FindingList:
    """Findings with a failure (or those of one failure or route), the surest first."""
    query = _summaries(failure, route)
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
        mined = connection.scalar(select(func.count()).select_from(FINDING)) or 0
    shown = rows if limit is None else rows[:limit]
    return FindingList(
        findings=tuple(FindingSummary(**row) for row in shown),
        total=len(rows),
        mined=mined,
        filtered=failure is not None or route is not None,
    )


def findings_frame(engine: Engine, *, failure: Failure | None = None, route: Route | None = None) -> "pd.DataFrame":
    """The same as a DataFrame: the columns of FindingSummary, and one `score_…` column for each number of Scores."""
    import pandas as pd

    query = _summaries(failure, route).add_columns(FINDING.c.scores)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    numbers = ("faithfulness", "sufficiency", "abstained", "citation_validity", "query_coverage", "completeness")
    for row in rows:
        scores = row.pop("scores")
        row.update({f"score_{name}": scores[name] for name in numbers})
    columns = [*FindingSummary.model_fields, *(f"score_{name}" for name in numbers)]
    return pd.DataFrame(rows, columns=columns)


def load_finding(engine: Engine, record_id: str) -> Finding:
    """The finding of one record.

    Raises:
        NotReadyError: the record has not been mined.
    """
    columns = [FINDING.c[name] for name in Finding.model_fields if name != "record_id"]
    with engine.connect() as connection:
        row = connection.execute(select(*columns).where(FINDING.c.interaction_id == record_id)).mappings().first()
    if row is None:
        raise NotReadyError(f"Record {record_id} has not been mined yet: run `factory mine`.")
    return Finding.model_validate({"record_id": record_id, **row})


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widest: int = 60) -> list[str]:
    """Lines of an aligned table; cells are put on one line and cut."""
    cells = [[_cut(" ".join(cell.split()), widest) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: widest - 1] + "…"


def _summaries(failure: Failure | None, route: Route | None) -> Select[tuple[object, ...]]:
    names = ("failure", "secondary", "route", "confidence", "why")
    about = ("query", "source", "source_id", "occurred_at")
    query = (
        select(
            FINDING.c.interaction_id.label("record_id"),
            *(FINDING.c[name] for name in names),
            *(INTERACTION.c[name] for name in about),
        )
        .select_from(FINDING.join(INTERACTION, INTERACTION.c.id == FINDING.c.interaction_id))
        .order_by(FINDING.c.confidence.desc(), FINDING.c.interaction_id)
    )
    if failure is not None:
        query = query.where(FINDING.c.failure == failure.value)
    if route is not None:
        query = query.where(FINDING.c.route == route.value)
    if failure is None and route is None:
        query = query.where(FINDING.c.failure != Failure.none.value)
    return query
