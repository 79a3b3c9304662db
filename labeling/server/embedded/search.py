"""Argilla's search engine over Argilla's own SQLite database.

Everything a search engine would index is in that database already, and Argilla commits before it
calls the engine. So nothing is written here: each question is answered by a query.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import (
    MetadataPropertyType,
    RecordStatus,
    ResponseStatus,
    ResponseStatusFilter,
    SortOrder,
    SuggestionType,
)
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Question, Record, Response, Suggestion
from argilla_server.search_engine.base import (
    AndFilter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    SuggestionFilterScope,
    TermsFilter,
    TermsMetrics,
    TextQuery,
)
from sqlalchemy import Float, String, and_, cast, exists, false, func, literal, not_, or_, select, type_coerce

from .query import parse

RECORD_COLUMNS = {
    "id": Record.id,
    "external_id": Record.external_id,
    "inserted_at": Record.inserted_at,
    "updated_at": Record.updated_at,
    "status": Record.status,
}
ENUMS = {"status": RecordStatus, "type": SuggestionType}


@SearchEngine.register("sqlite")
class SqliteSearch(SearchEngine):  # type: ignore[misc]
    """Progress, lists, filters, sorts, metrics and text search, as queries."""

    @classmethod
    async def new_instance(cls) -> "SqliteSearch":
        """An engine; it holds no connection of its own."""
        return cls()

    async def close(self) -> None:
        """Nothing to close."""

    async def ping(self) -> bool:
        """Whether the database answers."""
        return bool(await _scalar(select(literal(1))) == 1)

    async def info(self) -> dict[str, str]:
        """What `/api/v1/status` shows."""
        return {"engine": "sqlite", "version": str(await _scalar(select(func.sqlite_version())))}

    async def _in_database_already(self, *_: Any, **__: Any) -> None:
        """Indexing: Argilla has committed it before it calls."""

    create_index = delete_index = configure_metadata_property = configure_index_vectors = _in_database_already
    index_records = partial_record_update = delete_records = _in_database_already
    update_record_response = delete_record_response = _in_database_already
    update_record_suggestion = delete_record_suggestion = _in_database_already

    async def get_dataset_progress(self, dataset: Any) -> dict[str, int]:
        """Records by status, and their total."""
        counts = select(Record.status, func.count()).where(Record.dataset_id == dataset.id).group_by(Record.status)
        return _with_total(await _rows(counts))

    async def get_dataset_user_progress(self, dataset: Any, user: Any) -> dict[str, int]:
        """Responses of one user by status, and their total."""
        counts = (
            select(Response.status, func.count())
            .join(Record, Record.id == Response.record_id)
            .where(Record.dataset_id == dataset.id, Response.user_id == user.id)
            .group_by(Response.status)
        )
        return _with_total(await _rows(counts))

    async def search(
        self,
        dataset: Any,
        query: TextQuery | str | None = None,
        filter: Any = None,
        sort: Sequence[Any] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | None = None,
    ) -> SearchResponses:
        """One page of matching records, and how many match.

        Without a sort, each user has a random order of their own that stays the same, so that two
        curators do not work on the same records.
        """
        conditions = [Record.dataset_id == dataset.id]
        if query is not None:
            conditions.append(_holds_text(query if isinstance(query, TextQuery) else TextQuery(q=query)))
        if filter is not None:
            conditions.append(_condition(filter))
        order: list[Any] = [_sorted(step) for step in sort or ()]
        if not order and user_id is not None:
            order = _own_order(user_id)
        page = select(Record.id).where(*conditions).order_by(*order, Record.inserted_at, Record.id)
        items = [SearchResponseItem(record_id=row[0]) for row in await _rows(page.offset(offset).limit(limit))]
        total = await _scalar(select(func.count()).select_from(Record).where(*conditions))
        return SearchResponses(items=items, total=total)

    async def similarity_search(self, *_: Any, **__: Any) -> SearchResponses:
        """Refused with a clear message."""
        raise UnprocessableEntityError("This Argilla runs without vector search: use the text search or the filters.")

    async def compute_metrics_for(self, metadata_property: Any) -> Any:
        """Values of a metadata property with their counts, or its smallest and largest number."""
        value = _json(Record.metadata_, metadata_property.name)
        source = select(value.c.value).select_from(Record).join(value, literal(True))
        source = source.where(Record.dataset_id == metadata_property.dataset_id)
        if metadata_property.type == MetadataPropertyType.terms:
            counted = source.add_columns(func.count()).group_by(value.c.value)
            rows = await _rows(counted.order_by(func.count().desc(), value.c.value))
            terms = [TermsMetrics.TermCount(term=str(term), count=count) for term, count in rows]
            return TermsMetrics(total=sum(term.count for term in terms), values=terms)
        [(low, high)] = await _rows(source.with_only_columns(func.min(value.c.value), func.max(value.c.value)))
        is_integer = metadata_property.type == MetadataPropertyType.integer
        return (IntegerMetadataMetrics if is_integer else FloatMetadataMetrics)(min=low, max=high)


async def _rows(statement: Any) -> list[Any]:
    async with AsyncSessionLocal() as db:
        return list((await db.execute(statement)).all())


async def _scalar(statement: Any) -> Any:
    async with AsyncSessionLocal() as db:
        return await db.scalar(statement)


def _with_total(counts: list[Any]) -> dict[str, int]:
    return {"total": sum(count for _, count in counts), **{status.value: count for status, count in counts}}


def _json(column: Any, *keys: str) -> Any:
    """The values at a path of a JSON column as a table: a scalar gives one row, a list a row an item."""
    path = "$" + "".join(f'."{key}"' for key in keys)
    return func.json_each(column, path).table_valued("value", name="found")


def _holds_text(query: TextQuery) -> Any:
    """Any of the alternatives, all terms of which some field holds (or, negated, none does)."""
    path = "$" if query.field is None else f'$."{query.field}"'
    clauses = []
    for alternative in parse(query.q):
        terms = []
        for term in alternative:
            part = func.json_tree(Record.fields, path).table_valued("type", "value", name="part")
            like = part.c.value.like("%" + _escaped(term.text) + "%", escape="\\")
            found = exists(select(1).select_from(part).where(part.c.type == "text", like).correlate(Record))
            terms.append(not_(found) if term.negated else found)
        clauses.append(and_(*terms))
    return or_(*clauses) if clauses else false()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _condition(filter: Any) -> Any:
    if isinstance(filter, AndFilter):
        return and_(*[_condition(part) for part in filter.filters])
    scope = filter.scope
    if isinstance(scope, MetadataFilterScope):
        return _any_value(_json(Record.metadata_, scope.metadata_property), filter)
    if isinstance(scope, RecordFilterScope):
        return _matches(RECORD_COLUMNS[scope.property], filter, scope.property)
    if isinstance(scope, SuggestionFilterScope):
        return _suggestion_matches(scope, filter)
    if isinstance(scope, ResponseFilterScope) and scope.question is not None:
        return _response_exists(scope, _any_value(_json(Response.values, scope.question, "value"), filter))
    if isinstance(scope, ResponseFilterScope) and scope.property == "status" and isinstance(filter, TermsFilter):
        statuses = [ResponseStatus(value) for value in filter.values if value in list(ResponseStatus)]
        answered = _response_exists(scope, Response.status.in_(statuses))
        if ResponseStatusFilter.pending in filter.values:
            return or_(answered, not_(_response_exists(scope)))
        return answered
    raise UnprocessableEntityError("This filter is not known; filter by metadata, status, suggestion or response.")


def _response_exists(scope: Any, *conditions: Any) -> Any:
    of_user = [Response.user_id == scope.user.id] if scope.user else []
    return exists(select(1).where(Response.record_id == Record.id, *of_user, *conditions).correlate(Record))


def _suggestion_matches(scope: Any, filter: Any) -> Any:
    if scope.property in ("value", "score"):
        matches = _any_value(_json(getattr(Suggestion, scope.property)), filter)
    elif scope.property in ("agent", "type"):
        matches = _matches(getattr(Suggestion, scope.property), filter, scope.property)
    else:
        raise UnprocessableEntityError("Suggestions are filtered by value, score, agent or type.")
    return exists(_suggestions(select(1), scope).where(matches))


def _suggestions(statement: Any, scope: Any) -> Any:
    joined = statement.select_from(Suggestion).join(Question, Question.id == Suggestion.question_id)
    return joined.where(Suggestion.record_id == Record.id, Question.name == scope.question).correlate(Record)


def _any_value(values: Any, filter: Any) -> Any:
    return exists(select(1).select_from(values).where(_matches(values.c.value, filter)))


def _matches(column: Any, filter: Any, name: str = "") -> Any:
    if isinstance(filter, TermsFilter):
        if name in ENUMS:
            return column.in_([ENUMS[name](value) for value in filter.values if value in list(ENUMS[name])])
        if name == "id":
            return type_coerce(column, String).in_([value.replace("-", "").lower() for value in filter.values])
        return cast(column, String).in_(filter.values)
    assert isinstance(filter, RangeFilter)
    read = _moment if name.endswith("_at") else _number
    bounds = [column >= read(filter.ge)] if filter.ge is not None else []
    return and_(*bounds, *([column <= read(filter.le)] if filter.le is not None else []))


def _number(bound: float | str) -> Any:
    try:
        return literal(float(bound), Float)
    except ValueError as error:
        raise UnprocessableEntityError(f"{bound!r} is not a number.") from error


def _moment(bound: float | str) -> datetime:
    """Argilla keeps naive moments in UTC; a number means milliseconds, as in Elasticsearch."""
    try:
        moment = datetime.fromisoformat(bound) if isinstance(bound, str) else datetime.fromtimestamp(bound / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UnprocessableEntityError(f"{bound!r} is not a moment; write it like 2026-01-31T12:00:00.") from error
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _own_order(user_id: UUID | str) -> list[Any]:
    """Identifiers are random: so their digits, in an alphabet of the user's own, put records in a random order."""
    seed = str(UUID(str(user_id)))
    alphabet = "".join(
        sorted("0123456789abcdef", key=lambda digit: hashlib.sha256(f"{seed} {digit}".encode()).digest())
    )
    identifier = type_coerce(Record.id, String)
    return [func.instr(alphabet, func.substr(identifier, place, 1)) for place in range(1, 13)]


def _sorted(step: Any) -> Any:
    scope, down = step.scope, step.order == SortOrder.desc
    extreme = func.max if down else func.min
    if isinstance(scope, RecordFilterScope):
        value: Any = RECORD_COLUMNS[scope.property]
    elif isinstance(scope, MetadataFilterScope):
        found = _json(Record.metadata_, scope.metadata_property)
        value = select(extreme(found.c.value)).select_from(found).correlate(Record).scalar_subquery()
    elif isinstance(scope, SuggestionFilterScope) and scope.property in ("value", "score", "agent", "type"):
        value = _suggestions(select(extreme(getattr(Suggestion, scope.property))), scope).scalar_subquery()
    elif isinstance(scope, ResponseFilterScope):
        of_user = [Response.user_id == scope.user.id] if scope.user else []
        answer: Any = Response.status
        if scope.question is not None:
            answer = func.json_extract(Response.values, f'$."{scope.question}".value')
        answers = select(extreme(answer)).where(Response.record_id == Record.id, *of_user)
        value = answers.correlate(Record).scalar_subquery()
    else:
        raise UnprocessableEntityError("This sort is not known; sort by metadata, record, suggestion or response.")
    return (value.desc() if down else value.asc()).nulls_last()
