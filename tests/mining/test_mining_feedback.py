"""Which of several feedback events counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.mining.feedback import read_feedback
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from logs_schema.records import Feedback, FeedbackKind
from logs_schema.settings import HouseSettings
from logs_schema.store import save_feedback, save_records

HOUSE = HouseSettings()
K = FeedbackKind
NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


def event(identifier: str, kind: FeedbackKind, hour: int | None = None, **given: Any) -> Feedback:
    moment = None if hour is None else NOON + timedelta(hours=hour)
    return Feedback(identifier=identifier, kind=kind, occurred_at=moment, **given)


def test_kinds_outrank_each_other_and_the_newest_counts_inside_a_kind(make: Any) -> None:
    def vote_of(*events: Feedback) -> float | None:
        return read_feedback(make(feedback=events), HOUSE.abstention).vote

    implicit = event("i", K.implicit, 9, value=-0.5)
    up, down = event("u", K.vote, 1, value=1), event("d", K.vote, 2, value=-1)
    annotated = event("a", K.annotation, 0, value=0.5)
    assert vote_of(implicit) == -0.5
    assert vote_of(implicit, up) == 1
    assert vote_of(down, implicit, up) == -1, "the newer vote, however they are ordered"
    assert vote_of(event("u", K.vote, value=1), down) == -1, "an undated one is the oldest"
    assert vote_of(down, up, annotated) == 0.5


def test_a_correction_outranks_praise_but_not_a_correction_after_it(make: Any) -> None:
    price = "The City plan costs 72 euros a month."
    record = {"response": "Riders pay 19 dollars."}
    corrected = event("c", K.correction, 3, correction=price)
    for praise in (event("p", K.vote, 9, value=1), event("p", K.correction, 1, value=1)):
        opinion = read_feedback(make(feedback=(praise, corrected), **record), HOUSE.abstention)
        assert opinion.vote is None and opinion.correction and opinion.correction.text == price
    note = event("n", K.annotation, 9, correction="It costs 99 francs.")
    again = event("d", K.correction, 5, correction="It is 72 euros a month, VAT included.")
    read = read_feedback(make(feedback=(note, again, corrected), **record), HOUSE.abstention)
    assert read.correction and read.correction.text == again.correction
    blamed = read_feedback(make(feedback=(corrected, event("v", K.vote, 1, value=-1)), **record), HOUSE.abstention)
    assert blamed.bad and blamed.correction


EVENTS = st.lists(
    st.builds(
        event,
        identifier=st.text("abcdef", min_size=1, max_size=2),
        kind=st.sampled_from(list(K)),
        hour=st.none() | st.integers(0, 3),
        value=st.none() | st.sampled_from([-1.0, -0.5, 0.0, 1.0]),
        correction=st.none() | st.sampled_from(["It costs 72 euros.", "I don't know."]),
    ),
    max_size=6,
    unique_by=lambda one: one.identifier,
)


@given(events=EVENTS, data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_events_does_not_matter(make: Any, events: list[Feedback], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    one, other = (read_feedback(make(feedback=tuple(some)), HOUSE.abstention) for some in (events, shuffled))
    assert one == other
    if (
        one.vote is not None
        and one.event is not None
        and one.correction is None
        and not any(e.correction for e in events)
    ):
        heavier = [e for e in events if e.value is not None and list(K).index(e.kind) > list(K).index(one.event.kind)]
        assert not heavier


def test_changed_feedback_is_mined_again_and_the_same_is_not(engine: Any, make: Any) -> None:
    save_records(engine, [make(1, response="Riders pay 19 dollars."), make(2)])
    assert mine(engine, MiningSettings(), HOUSE).mined == 2
    down = event("v", K.vote, 1, value=-1)
    save_feedback(engine, "desk", "trace-0001", [down])
    assert mine(engine, MiningSettings(), HOUSE).mined == 1
    save_feedback(engine, "desk", "trace-0001", [down])
    assert mine(engine, MiningSettings(), HOUSE).mined == 0
    save_feedback(engine, "desk", "trace-0001", [event("v", K.vote, 2, value=1)])
    assert mine(engine, MiningSettings(), HOUSE).mined == 1
