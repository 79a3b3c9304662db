from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select, update

from factory.mining.findings import load_finding
from factory.mining.miner import mine
from factory.mining.picking import draw_of, drawn_for_audit
from factory.mining.queue import QueueReport, fill_queue
from factory.mining.settings import MiningSettings
from factory.mining.waiting import list_queue, next_step
from logs_schema.records import Context, Message, RagRecord
from logs_schema.rows import FINDING, INTERACTION, QUEUE, REVIEW
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records

HOUSE = HouseSettings()
LIE = "Riders pay 19 dollars to the Zurich office [1]."
UNCITED = "The City plan costs 72 euros a month for the everyday step-through bike."


def asked(make: Any, number: int, **given: Any) -> RagRecord:
    """A record with a question of its own."""
    record: RagRecord = make(
        number,
        **{"query": f"what does the city plan with the everyday step-through bike cost in euros ({number})", **given},
    )
    return record


def queue(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {row.interaction_id: row for row in connection.execute(select(QUEUE))}


def review(engine: Engine, *ids: str, by: str = "ada", decision: str = "good_as_is", ideal: str | None = None) -> None:
    moment = datetime(2026, 11, 3, tzinfo=UTC)
    with engine.begin() as connection:
        for identifier in ids:
            connection.execute(
                insert(REVIEW).values(
                    id=f"{identifier} {by}",
                    interaction_id=identifier,
                    reviewer=by,
                    decision=decision,
                    ideal_answer=ideal,
                    draft_source="none",
                    audit=False,
                    guidelines_version="1",
                    record_hash="0",
                    reviewed_at=moment,
                    pulled_at=moment,
                )
            )


def push(engine: Engine, *ids: str) -> None:
    with engine.begin() as connection:
        where = QUEUE.c.interaction_id.in_(ids)
        connection.execute(
            update(QUEUE).where(where).values(pushed_at=datetime(2026, 11, 3, tzinfo=UTC), pushed_to="x")
        )


def filled(engine: Engine, records: list[RagRecord], **given: Any) -> QueueReport:
    save_records(engine, records)
    return mine(engine, MiningSettings(**given), HOUSE).queue


def test_the_budget_is_shared_and_handed_on(engine: Engine, make: Any) -> None:
    lies = [asked(make, n, response=LIE) for n in range(40)]
    uncited = [asked(make, n, response=UNCITED) for n in range(40, 45)]
    refused = [asked(make, n, response="I don't know.") for n in range(45, 85)]
    shares = {"unfaithful": 0.5, "bad_citation": 0.3, "over_refusal": 0.2}
    report = filled(engine, lies + uncited + refused, budget=20, audit_share=0, shares=shares)
    assert report.waiting == {"unfaithful": 11, "bad_citation": 5, "over_refusal": 4} == report.added
    assert report.left == 85 - 20 and "20 of at most 20" in report.text()


def test_a_failure_without_a_share_is_never_queued(engine: Engine, make: Any) -> None:
    records = [asked(make, n, response=LIE if n % 2 else "I don't know.") for n in range(20)]
    report = filled(engine, records, budget=20, audit_share=0, shares={"unfaithful": 0.1, "over_refusal": 0})
    assert report.waiting == {"unfaithful": 10} and report.left == 0


def test_filling_again_changes_nothing(engine: Engine, make: Any) -> None:
    filled(engine, [asked(make, n, response=LIE) for n in range(60)], budget=12, audit_share=0.25)
    before = queue(engine)
    report = fill_queue(engine, MiningSettings(budget=12, audit_share=0.25))
    assert report.added == {} and report.dropped == 0 and queue(engine) == before
    assert fill_queue(engine, MiningSettings(budget=5, audit_share=0.25)).added == {}


def test_the_audit_slice_does_not_depend_on_miner_or_import(fresh: Callable[[], Engine], make: Any) -> None:
    lies = [asked(make, n, response=LIE) for n in range(80)]
    good = [asked(make, n) for n in range(80)]
    given = MiningSettings(budget=25, audit_share=0.2)
    picked = []
    for records in (lies, good, lies[::-1]):
        engine = fresh()
        save_records(engine, records)
        mine(engine, given, HOUSE)
        items = queue(engine)
        audits = {i for i, row in items.items() if row.reason == "audit"}
        assert len(audits) == 5 and all(items[i].failure is None for i in audits)
        assert not any(drawn_for_audit(i, given) for i in items if items[i].reason == "finding")
        picked.append(audits)
    assert picked[0] == picked[1] == picked[2]
    assert sum(drawn_for_audit(record.record_id, given) for record in lies) == pytest.approx(16, abs=10)
    other = MiningSettings(budget=25, audit_share=0.2, seed=99)
    assert {r.record_id for r in lies if drawn_for_audit(r.record_id, other)} != {
        r.record_id for r in lies if drawn_for_audit(r.record_id, given)
    }


def test_an_audit_record_has_a_response_and_contexts(engine: Engine, make: Any) -> None:
    records = [asked(make, 0, response=""), asked(make, 1, response=" \n"), asked(make, 2, contexts=()), asked(make, 3)]
    filled(engine, records, budget=10, audit_share=1)
    assert set(queue(engine)) == {records[3].record_id}


def test_audits_keep_their_places_free_of_findings(engine: Engine, make: Any) -> None:
    given = MiningSettings(budget=20, audit_share=0.5)
    lies = [asked(make, n, response=LIE) for n in range(80)]
    findings = [record for record in lies if not drawn_for_audit(record.record_id, given)]
    audits = [record for record in lies if drawn_for_audit(record.record_id, given)]
    save_records(engine, findings)
    assert mine(engine, given, HOUSE).queue.waiting == {"unfaithful": 10}
    save_records(engine, audits)
    assert mine(engine, given, HOUSE).queue.waiting == {"audit": 10, "unfaithful": 10}


def test_the_same_question_is_queued_once(engine: Engine, make: Any) -> None:
    spellings = [
        "how much is the city plan per month",
        "How much is the city plan per month?",
        "how  much is the city plan per month ?",
    ]
    records = [make(n, query=query, response=LIE) for n, query in enumerate(spellings)]
    report = filled(engine, records, budget=10, audit_share=0)
    assert report.waiting == {"unfaithful": 1} and report.duplicates == 2 and report.left == 0
    review(engine, *queue(engine))
    assert fill_queue(engine, MiningSettings(budget=10, audit_share=0)).waiting == {}
    in_talk = make(9, query=spellings[0], response=LIE, history=(Message(role="user", content="I mean the old bike"),))
    assert filled(engine, [in_talk], budget=10, audit_share=0).waiting == {"unfaithful": 1}


def test_nobody_floods_the_queue(engine: Engine, make: Any) -> None:
    noisy = [asked(make, n, response=LIE, user_id="troll") for n in range(30)]
    others = [asked(make, n, response=LIE, user_id=None if n % 2 else f"user-{n}") for n in range(30, 36)]
    report = filled(engine, noisy + others, budget=30, audit_share=0, per_user=3)
    assert report.waiting == {"unfaithful": 9} and report.over_limit == 27
    review(engine, *(r.record_id for r in noisy if r.record_id in queue(engine)))
    assert fill_queue(engine, MiningSettings(budget=30, audit_share=0, per_user=3)).added == {"unfaithful": 3}


def test_reviews_make_room_and_are_never_queued_again(engine: Engine, make: Any) -> None:
    given = MiningSettings(budget=4, audit_share=0)
    filled(engine, [asked(make, n, response=LIE) for n in range(10)], budget=4, audit_share=0)
    first = set(queue(engine))
    push(engine, *first)
    review(engine, *sorted(first)[:3])
    report = fill_queue(engine, given)
    assert report.added == {"unfaithful": 3} and report.waiting == {"unfaithful": 4}
    assert first < set(queue(engine))
    listed = list_queue(engine)
    assert len(listed.entries) == 4 and listed.reviewed == 3 and "3 are reviewed" in listed.text()


def test_unsent_items_follow_their_findings(engine: Engine, make: Any) -> None:
    records = [asked(make, n, response=UNCITED) for n in range(3)]
    filled(engine, records, budget=9, audit_share=0)
    sent, reviewed, unsent = (record.record_id for record in records)
    push(engine, sent)
    review(engine, reviewed)
    report = mine(engine, MiningSettings(budget=9, audit_share=0, citations=False), HOUSE).queue
    assert report.dropped == 1 and set(queue(engine)) == {sent, reviewed} and unsent not in queue(engine)
    save_records(engine, [asked(make, 7, response=LIE)])
    mine(engine, MiningSettings(budget=9, audit_share=0), HOUSE)
    with engine.begin() as connection:
        changed = FINDING.c.interaction_id == asked(make, 7).record_id
        connection.execute(update(FINDING).where(changed).values(failure="incomplete", confidence=0.125))
    fill_queue(engine, MiningSettings(budget=9, audit_share=0))
    row = queue(engine)[asked(make, 7).record_id]
    assert (row.failure, row.confidence) == ("incomplete", 0.125) and row.priority < 0.125


def test_the_surest_come_first(engine: Engine, make: Any) -> None:
    contexts = (Context(text="Helmets are compulsory for riders aged 16 and 17."),)
    sure = [asked(make, n, response="The City plan costs 72 euros a month [9].") for n in range(5)]
    unsure = [asked(make, n, response=UNCITED) for n in range(5, 10)]
    absent = [asked(make, 20, contexts=contexts, response="Napoleon lost.")]
    filled(engine, sure + unsure + absent, budget=5, audit_share=0, shares={"bad_citation": 1})
    assert set(queue(engine)) == {record.record_id for record in sure}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.integers(1, 30),
    audit_share=st.floats(0, 1),
    per_user=st.integers(1, 9),
    kinds=st.lists(st.sampled_from(["good", "lie", "uncited", "refused", "empty"]), max_size=20),
    reviewed=st.floats(0, 1),
)
def test_the_queue_keeps_its_rules(
    engine: Engine,
    make: Any,
    budget: int,
    audit_share: float,
    per_user: int,
    kinds: list[str],
    reviewed: float,
) -> None:
    answers = {"good": make().response, "lie": LIE, "uncited": UNCITED, "refused": "I don't know.", "empty": ""}
    records = [asked(make, n, response=answers[kind], user_id=f"u{n % 3}") for n, kind in enumerate(kinds)]
    given = MiningSettings(budget=budget, audit_share=audit_share, per_user=per_user)
    with engine.begin() as connection:
        connection.execute(delete(REVIEW))
        connection.execute(delete(INTERACTION))
    save_records(engine, records[::2])
    mine(engine, given, HOUSE)
    review(engine, *sorted(queue(engine))[: int(reviewed * len(queue(engine)))])
    save_records(engine, records)
    report = mine(engine, given, HOUSE).queue
    items = queue(engine)
    assert sum(report.waiting.values()) == len(list_queue(engine).entries) <= budget
    for record in records:
        item = items.get(record.record_id)
        if item is not None:
            assert (item.reason == "audit") is drawn_for_audit(record.record_id, given)
            assert record.response
    assert fill_queue(engine, given).added == {}


def test_what_happens_next_is_one_thing(engine: Engine, make: Any) -> None:
    loose = {"response": "Riders pay 19 dollars to the Zurich office."}
    records = [make(number, **loose) for number in range(3)]
    save_records(engine, records)
    mine(engine, MiningSettings(audit_share=0), HOUSE)
    findings = {record.record_id: load_finding(engine, record.record_id) for record in records}
    told = {record_id: next_step(engine, finding) for record_id, finding in findings.items()}
    (queued,) = [record_id for record_id, text in told.items() if text.startswith("It waits in the review queue")]
    assert (
        sorted(text for record_id, text in told.items() if record_id != queued)
        == [f"It is not in the review queue, because nearly the same question is: record {queued}."] * 2
    )
    push(engine, queued)
    assert next_step(engine, findings[queued]).startswith("It waits for a curator in Argilla")
    review(engine, queued, by="anna", decision="not_usable")
    said = next_step(engine, findings[queued])
    assert said == "Reviewed by anna on 2026-11-03: not usable; it will not be trained on.\nNothing more to do."
    review(engine, queued, by="bert", decision="answer", ideal="It costs 72 euros.\n[1]")
    said = next_step(engine, findings[queued])
    assert 'the right answer is "It costs 72 euros. [1]".' in said and said.endswith("They do not agree.")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shown=st.lists(
        st.tuples(
            st.sampled_from(["unfaithful", "over_refusal"]),
            st.sampled_from([0.2, 0.5, 0.55, 0.6, 0.9]),
            st.integers(0, 3),
            st.integers(0, 4),
        ),
        min_size=1,
        max_size=30,
    ),
    budget=st.integers(1, 12),
)
def test_each_place_goes_to_the_highest_priority_of_its_moment(
    engine: Engine, make: Any, shown: list[tuple[str, float, int, int]], budget: int
) -> None:
    """The walk by bounds chooses as looking at everything for every place does."""
    contexts = [Context(text=f"The plan of city {n} costs 72 euros a month.", doc_id=f"d{n}") for n in range(4)]
    records = [
        asked(make, n, response=LIE, contexts=(contexts[document],), user_id=f"u{user}")
        for n, (_, _, document, user) in enumerate(shown)
    ]
    with engine.begin() as connection:
        connection.execute(delete(INTERACTION))
    save_records(engine, records)
    mine(engine, MiningSettings(budget=1, audit_share=0, shares={"bad_format": 1}), HOUSE)
    with engine.begin() as connection:
        for record, (failure, confidence, _, _) in zip(records, shown, strict=True):
            mended = {"failure": failure, "confidence": confidence, "route": "behaviour", "secondary": []}
            connection.execute(update(FINDING).where(FINDING.c.interaction_id == record.record_id).values(mended))
    shares = {"unfaithful": 0.6, "over_refusal": 0.4}
    fill_queue(engine, MiningSettings(budget=budget, audit_share=0, shares=shares, per_user=3))

    place = {record.record_id: one for record, one in zip(records, shown, strict=True)}
    left, documents, users, expected = dict(place), Counter[int](), Counter[int](), list[str]()

    def best(kind: str) -> str | None:
        allowed = [name for name, (failure, _, _, user) in left.items() if failure == kind and users[user] < 3]
        order = {
            name: (-round(place[name][1] * round((1 + documents[place[name][2]]) ** -0.5, 4), 6), draw_of(name, 17))
            for name in allowed
        }
        return min(order, key=lambda name: order[name], default=None)

    for rounds in ({kind: round(share * budget) for kind, share in shares.items()}, dict.fromkeys(shares, budget)):
        for kind, count in rounds.items():
            for _ in range(count):
                name = best(kind)
                if name is not None and len(expected) < budget:
                    expected.append(name)
                    documents[left[name][2]] += 1
                    users[left.pop(name)[3]] += 1
    assert set(queue(engine)) == set(expected)
