"""Resolved tickets: candidates for curators, never findings."""

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from factory.mining.findings import load_finding
from factory.mining.miner import MineReport, mine
from factory.mining.settings import MiningSettings
from factory.mining.waiting import list_queue
from labeling.form import record_fields
from labeling.push import correction_draft
from logs_schema.importers.tickets import parse
from logs_schema.records import RagRecord
from logs_schema.rows import QUEUE
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records
from logs_schema.tables import now
from logs_schema.taxonomy import Failure, QueueReason, Route

HOUSE = HouseSettings()
HELMETS = "Helmets are strongly recommended for adults and compulsory for riders aged 16 and 17."


def ticket(number: int, **given: Any) -> RagRecord:
    row = {
        "ticket_id": f"T-{number}",
        "question": f"Do riders of {number} need a helmet?",
        "resolution": "Helmets are compulsory for riders aged 16 and 17.",
        "status": "resolved",
        "documents": [{"doc_id": "helmets", "text": HELMETS}],
        "created_at": "2026-11-02T08:00:00Z",
        **given,
    }
    (record,) = parse(row, "desk").records
    return record


def mined(engine: Engine, *records: RagRecord, **settings: Any) -> MineReport:
    save_records(engine, records)
    return mine(engine, MiningSettings(**settings), HOUSE)


def test_resolved_tickets_with_documents_are_queued_best_supported_first(engine: Engine) -> None:
    plain, escalated = ticket(1), ticket(2, escalated=True)
    unsupported = ticket(3, resolution="We sent a voucher of 20 euros.")
    report = mined(engine, unsupported, plain, escalated, audit_share=0.9)
    entries = list_queue(engine).entries
    assert [entry.record_id for entry in entries] == [r.record_id for r in (escalated, plain, unsupported)]
    assert {(entry.reason, entry.failure) for entry in entries} == {(QueueReason.ticket, None)}
    assert report.queue.waiting == report.queue.added == {"ticket": 3}, "no ticket is drawn for the audit"
    assert "3 tickets that a person resolved" in report.text()
    finding = load_finding(engine, plain.record_id)
    assert (finding.failure, finding.route) == (Failure.none, Route.ticket)
    assert "A person resolved this ticket" in finding.why


@pytest.mark.parametrize(
    "given",
    [
        {"documents": []},
        {"documents": [{"doc_id": "helmets"}]},
        {"resolution": None},
        {"status": "open"},
        {"status": "escalated", "resolution": None},
    ],
    ids=str,
)
def test_others_are_no_candidates_and_no_finding(engine: Engine, given: dict[str, Any]) -> None:
    record = ticket(1, **given)
    report = mined(engine, record, audit_share=0.9)
    finding = load_finding(engine, record.record_id)
    assert (finding.failure, finding.route, finding.confidence) == (Failure.none, Route.no_action, 0.0)
    assert report.queue.waiting == {}


def test_a_ticket_that_is_reopened_leaves_the_queue_unless_it_was_sent(engine: Engine) -> None:
    mined(engine, ticket(1), ticket(2))
    sent = ticket(2)
    with engine.begin() as connection:
        here = QUEUE.c.interaction_id == sent.record_id
        connection.execute(update(QUEUE).where(here).values(pushed_at=now(), pushed_to="there"))
    gone = [ticket(number, documents=[]) for number in (1, 2)]
    report = mined(engine, *gone)
    assert report.queue.dropped == 1
    with engine.connect() as connection:
        assert list(connection.scalars(select(QUEUE.c.interaction_id))) == [sent.record_id]


def test_tickets_have_a_share_and_leave_the_rest_to_findings(engine: Engine, make: Any) -> None:
    lies = [
        make(n, query=f"how much is the city plan per month ({n})", response="It costs 19 dollars in Zurich [1].")
        for n in range(20)
    ]
    shares = {"unfaithful": 0.8, "ticket": 0.2}
    report = mined(engine, *(ticket(n) for n in range(20)), *lies, budget=10, audit_share=0, shares=shares)
    assert report.queue.waiting == {"unfaithful": 8, "ticket": 2}
    nothing = mined(engine, budget=20, audit_share=0, shares={"unfaithful": 0.8})
    assert nothing.queue.waiting["ticket"] == 2


def test_the_resolution_is_the_draft_and_the_page_says_what_it_is(engine: Engine) -> None:
    record = ticket(1)
    assert correction_draft(record) == ("Helmets are compulsory for riders aged 16 and 17.", "correction")
    assert record_fields(record, "why")["answer"].startswith("(A support ticket")
