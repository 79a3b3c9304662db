"""Lineage: from a log line to every adapter that it taught, and from an adapter back to people and traces."""

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, select

from logs_schema.errors import InputError
from logs_schema.records import Value
from logs_schema.rows import FINDING, INTERACTION, QUEUE, REVIEW
from logs_schema.store import resolve_id
from logs_schema.tables import (
    Adapter,
    DatasetRow,
    DatasetVersion,
    GateDecision,
    Promotion,
)

DATASET: Table = DatasetVersion.__table__  # type: ignore[attr-defined]
ROW: Table = DatasetRow.__table__  # type: ignore[attr-defined]
ADAPTER: Table = Adapter.__table__  # type: ignore[attr-defined]
GATE: Table = GateDecision.__table__  # type: ignore[attr-defined]
PROMOTION: Table = Promotion.__table__  # type: ignore[attr-defined]

SHOWN = 20
"""Children of one node that the text lists; the value holds them all."""
ROLE = {"train": "taught", "validation": "steered", "test": "measured"}
"""What a row did for an adapter, by its side of the split."""


class Node(Value):
    """One thing in the way of a record, and what hangs on it."""

    kind: str
    """`record`, `finding`, `queue`, `review`, `example`, `rows`, `reviewer`, `dataset`, `adapter`, `gate`, …"""
    id: str
    note: str = ""
    """What a person wants to know of it, in one line."""
    rows: int | None = None
    """Dataset rows that the node stands for."""
    children: tuple["Node", ...] = ()


class Lineage(Value):
    """The answer to `factory trace`."""

    asked: str
    root: Node

    def text(self) -> str:
        """A tree, one line a node."""
        return "\n".join(_tree(self.root))


def trace(engine: Engine, identifier: str) -> Lineage:
    """Lineage of a record or trace, review, example, dataset or adapter.

    Only record ids may be shortened. A review or an example gives the lineage of its record.

    Raises:
        InputError: nothing has that id, or a shortened record id fits several records.
    """
    wanted = identifier.strip()
    with engine.connect() as connection:
        root = _known(connection, wanted)
    if root is None:
        try:
            record_id = resolve_id(engine, wanted)
        except InputError as error:
            raise InputError(f"{error} Reviews, examples, datasets and adapters go by their whole id.") from error
        with engine.connect() as connection:
            root = _record(connection, record_id)
    return Lineage(asked=wanted, root=root)


def _known(connection: Connection, wanted: str) -> Node | None:
    if _rows(connection, INTERACTION.c.id, wanted):
        return _record(connection, wanted)
    if _rows(connection, ADAPTER.c.id, wanted):
        return _adapter_and_its_data(connection, wanted)
    if _rows(connection, DATASET.c.id, wanted):
        return _contents(connection, wanted)
    for review in _rows(connection, REVIEW.c.id, wanted):
        return _record(connection, review.interaction_id)
    examples = _rows(connection, ROW.c.example_id, wanted)
    if not examples:
        return None
    record_id = examples[0].interaction_id
    if record_id and _rows(connection, INTERACTION.c.id, record_id):
        return _record(connection, record_id)
    return _example(connection, examples)


# --- forwards: a record, its reviews, its rows, the adapters ----------------------------------------


def _record(connection: Connection, record_id: str) -> Node:
    record = _rows(connection, INTERACTION.c.id, record_id)[0]
    children = [
        Node(kind="finding", id=row.failure, note=f"route {row.route}: {row.why}")
        for row in _rows(connection, FINDING.c.interaction_id, record_id)
    ]
    for row in _rows(connection, QUEUE.c.interaction_id, record_id):
        pushed = f"pushed to {row.pushed_to}" if row.pushed_to else "not pushed yet"
        children.append(Node(kind="queue", id=row.reason, note=f"{_when(row.queued_at)}, {pushed}"))
    children += [
        Node(kind="review", id=row.id, note=f"{row.decision}, by {row.reviewer}, {_when(row.reviewed_at)}")
        for row in _rows(connection, REVIEW.c.interaction_id, record_id)
    ]
    by_example: dict[str, list[Any]] = {}
    for row in _rows(connection, ROW.c.interaction_id, record_id):
        by_example.setdefault(row.example_id, []).append(row)
    children += [_example(connection, rows) for _, rows in sorted(by_example.items())]
    note = f"{record.source} {record.source_id}, {_when(record.occurred_at)}, model {record.model or 'not logged'}"
    return Node(kind="record", id=record_id, note=f"{note}: {_short(record.query)}", children=tuple(children))


def _example(connection: Connection, rows: list[Any]) -> Node:
    """One row, and every dataset version that holds it."""
    datasets = []
    for row in rows:
        adapters = tuple(
            Node(
                kind="adapter",
                id=adapter.id,
                note=f"{ROLE[row.split]}, on {adapter.base_model}, {_when(adapter.created_at)}",
                children=_fate(connection, adapter.id),
            )
            for adapter in _rows(connection, ADAPTER.c.dataset_id, row.dataset_id)
        )
        datasets.append(
            Node(kind="dataset", id=row.dataset_id, note="" if adapters else "no adapter yet", children=adapters)
        )
    return Node(
        kind="example", id=rows[0].example_id, note=f"{rows[0].kind}, {rows[0].split}", children=tuple(datasets)
    )


def _fate(connection: Connection, adapter_id: str) -> tuple[Node, ...]:
    """What the gate said of an adapter, and whether it was promoted."""
    gates = [
        Node(kind="gate", id=row.id, note=f"{'passed' if row.passed else 'refused'}, {_when(row.created_at)}")
        for row in _rows(connection, GATE.c.adapter_id, adapter_id)
    ]
    promotions = [
        Node(kind="promotion", id=str(row.id), note=f"{row.action}, by {row.by}, {_when(row.created_at)}")
        for row in _rows(connection, PROMOTION.c.adapter_id, adapter_id)
    ]
    return (*gates, *promotions)


# --- backwards: an adapter, its dataset, the people and records behind it ----------------------------


def _adapter_and_its_data(connection: Connection, adapter_id: str) -> Node:
    adapter = _rows(connection, ADAPTER.c.id, adapter_id)[0]
    return Node(
        kind="adapter",
        id=adapter_id,
        note=f"on {adapter.base_model}, {_when(adapter.created_at)}",
        children=(*_fate(connection, adapter_id), _contents(connection, adapter.dataset_id)),
    )


def _contents(connection: Connection, dataset_id: str) -> Node:
    """The rows of a dataset by side and kind, who reviewed them, and the records behind them."""
    version = _rows(connection, DATASET.c.id, dataset_id)[0]
    joined = ROW.outerjoin(REVIEW, REVIEW.c.id == ROW.c.review_id).outerjoin(
        INTERACTION, INTERACTION.c.id == ROW.c.interaction_id
    )
    found = connection.execute(
        select(
            *(ROW.c[name] for name in ("example_id", "kind", "split", "interaction_id")),
            *(REVIEW.c.reviewer, INTERACTION.c.source_id),
        )
        .select_from(joined)
        .where(ROW.c.dataset_id == dataset_id)
        .order_by(ROW.c.split, ROW.c.kind, ROW.c.example_id)
    ).all()
    reviewers = Counter(row.reviewer for row in found if row.reviewer)
    people = [
        Node(kind="reviewer", id=name, rows=rows)
        for name, rows in sorted(reviewers.items(), key=lambda item: (-item[1], item[0]))
    ]
    sides: dict[tuple[str, str], list[Node]] = {}
    for row in found:
        sides.setdefault((row.split, row.kind), []).append(_row_and_its_record(row))
    rows = [
        Node(kind="rows", id=f"{split} {kind}", rows=len(nodes), children=tuple(nodes))
        for (split, kind), nodes in sides.items()
    ]
    return Node(
        kind="dataset",
        id=dataset_id,
        note=f"{_when(version.created_at)}, {version.path}",
        rows=len(found),
        children=(*people, *rows),
    )


def _row_and_its_record(row: Any) -> Node:
    if not row.interaction_id:
        return Node(kind="example", id=row.example_id)
    trace_id = row.source_id or "no longer in the store"
    record = Node(kind="record", id=row.interaction_id, note=f"trace {trace_id}")
    note = f"reviewed by {row.reviewer}" if row.reviewer else "its review is no longer in the store"
    return Node(kind="example", id=row.example_id, note=note, children=(record,))


# --- shared -----------------------------------------------------------------------------------------


def _rows(connection: Connection, column: Column[Any], value: str) -> list[Any]:
    """Rows of the column's table with this value, oldest first."""
    table: Table = column.table
    moments = [table.c[name] for name in ("reviewed_at", "created_at") if name in table.c]
    return list(connection.execute(select(table).where(column == value).order_by(*moments, *table.primary_key)))


def _tree(node: Node, indent: str = "") -> list[str]:
    rows = f" ({node.rows} rows)" if node.rows is not None else ""
    note = f": {node.note}" if node.note else ""
    lines = [f"{indent}{node.kind} {node.id}{rows}{note}"]
    deeper = indent + "  "
    for child in node.children[:SHOWN]:
        lines += _tree(child, deeper)
    if len(node.children) > SHOWN:
        lines.append(f"{deeper}… and {len(node.children) - SHOWN} more (--json lists them all)")
    return lines


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"
