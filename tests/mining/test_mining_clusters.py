from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from factory.mining.clusters import TABLES, Question, Questions, cluster_findings
from factory.mining.miner import mine
from factory.mining.questions import Words, figures, jaccard, topic_of
from factory.mining.queue import QueueReport, fill_queue
from factory.mining.rank import Asking
from factory.mining.settings import MiningSettings
from factory.mining.waiting import list_queue
from logs_schema.errors import FactoryError
from logs_schema.records import Feedback, FeedbackKind, RagRecord
from logs_schema.rows import FINDING, QUEUE
from logs_schema.scratch import scratch
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records

HOUSE = HouseSettings()
LIE = "Riders pay 19 dollars to the Zurich office [1]."
ASKED = "how much does the city plan with the everyday bike cost a month"
PARAPHRASES = (
    "How much does the city plan with the everyday bike cost a month?",
    "how much does a city plan with an everyday bike cost per month, please",
    "What does the City plan with the everyday bike cost a month",
)
OTHERS = (
    "when does the free trial of the cargo plan end and how do I stop it",
    "what vat do plan prices for the everyday step-through bike include",
)


def clusters(engine: Engine) -> dict[str, str | None]:
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(select(FINDING.c.interaction_id, FINDING.c.cluster))}


def filled(engine: Engine, records: list[RagRecord], **given: Any) -> QueueReport:
    save_records(engine, records)
    return mine(engine, MiningSettings(**{"audit_share": 0, **given}), HOUSE).queue


def down(by: str = "x") -> tuple[Feedback, ...]:
    return (Feedback(identifier=by, kind=FeedbackKind.vote, value=-1),)


def test_a_question_asked_often_takes_one_place(engine: Engine, make: Any) -> None:
    often = [make(n, query=(ASKED, *PARAPHRASES)[n % 4], response=LIE, user_id=f"u{n}") for n in range(60)]
    others = [make(60 + n, query=query, response=LIE) for n, query in enumerate(OTHERS)]
    report = filled(engine, often + others)
    assert sum(report.waiting.values()) == 3 and report.duplicates == 59 and report.left == 0
    first = list_queue(engine).entries[0]
    assert first.factors is not None and (first.factors.asked, first.factors.people) == (60, 60)
    assert "60 flagged answers to 60 people" in list_queue(engine).text()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("why do I get error 404 on the order page", "why do I get error 500 on the order page"),
        ("how do I cancel the city plan", "how do I cancel the cargo plan"),
        (ASKED, OTHERS[0]),
    ],
)
def test_different_questions_keep_their_places(engine: Engine, make: Any, one: str, other: str) -> None:
    filled(engine, [make(0, query=one, response=LIE), make(1, query=other, response=LIE)])
    found = clusters(engine)
    assert len(set(found.values())) == 2 and None not in found.values()


def test_clusters_are_extended_night_by_night(engine: Engine, make: Any) -> None:
    filled(engine, [make(0, query=ASKED, response=LIE)])
    first = make(0).record_id
    assert clusters(engine) == {first: first}
    filled(engine, [make(n, query=query, response=LIE) for n, query in enumerate(PARAPHRASES, start=1)])
    assert set(clusters(engine).values()) == {first}
    assert cluster_findings(engine, 0.7) == 0
    with engine.begin() as connection:  # as if the run had been cut off before this page
        connection.execute(update(FINDING).where(FINDING.c.interaction_id == first).values(cluster=None))
    assert cluster_findings(engine, 0.7) == 1 and set(clusters(engine).values()) == {first}


def test_a_cluster_outlives_its_first_record(engine: Engine, make: Any) -> None:
    filled(engine, [make(0, query=ASKED, response=LIE), make(1, query=PARAPHRASES[0], response=LIE)])
    founder = make(0).record_id
    with engine.begin() as connection:
        connection.execute(FINDING.delete().where(FINDING.c.interaction_id == founder))
    filled(engine, [make(2, query=PARAPHRASES[1], response=LIE)])
    assert set(clusters(engine).values()) == {founder}


def test_one_person_cannot_flood_the_queue_with_paraphrases(engine: Engine, make: Any) -> None:
    nouns = ["bike", "helmet", "trial", "charger", "lock", "battery", "motor", "brake", "wheel", "saddle"]
    troll = [
        make(n, query=f"tell me {nouns[n % 10]} {nouns[n // 10 % 10]} {nouns[n // 100]} about the city plan price",
             response=LIE, user_id="troll", session_id=f"s{n}", feedback=down())
        for n in range(1000)
    ]  # fmt: skip
    honest = [
        make(2000 + n, query=f"{OTHERS[n % 2]} {n}", response=LIE, user_id=f"u{n}", feedback=down()) for n in range(30)
    ]
    report = filled(engine, troll + honest, budget=100)
    by = {record.record_id: record.user_id for record in (*troll, *honest)}
    entries = list_queue(engine).entries
    assert sum(by[entry.record_id] == "troll" for entry in entries) <= MiningSettings().per_user
    assert sum(by[entry.record_id] != "troll" for entry in entries) == 30 and report.duplicates > 500
    assert max(e.factors.impact for e in entries if e.factors and by[e.record_id] == "troll") <= 1.25


def test_a_session_has_a_limit_of_its_own(engine: Engine, make: Any) -> None:
    records = [make(n, query=f"{ASKED} {n}", response=LIE, session_id="one") for n in range(9)]
    report = filled(engine, records, per_session=2)
    assert report.waiting == {"unfaithful": 2} and report.over_limit == 7


def test_many_people_and_bad_feedback_come_first(engine: Engine, make: Any) -> None:
    alone = make(0, query=OTHERS[0], response=LIE, user_id="a")
    angry = make(1, query=OTHERS[1], response=LIE, user_id="b", feedback=down())
    many = [make(n, query=ASKED, response=LIE, user_id=f"u{n}") for n in range(2, 9)]
    filled(engine, [alone, angry, *many])
    order = [entry.record_id for entry in list_queue(engine).entries]
    assert order[0] in {record.record_id for record in many} and order[-1] == alone.record_id


def test_unsent_places_follow_what_comes_in(engine: Engine, make: Any) -> None:
    filled(engine, [make(0, query=ASKED, response=LIE, user_id="a")])
    before = list_queue(engine).entries[0].priority
    filled(engine, [make(n, query=ASKED, response=LIE, user_id=f"u{n}") for n in range(1, 5)])
    entry = list_queue(engine).entries[0]
    assert entry.factors is not None and entry.factors.asked == 5 and entry.priority > before
    with engine.connect() as connection:
        row = connection.execute(select(QUEUE)).one()
    assert row.confidence == entry.factors.confidence and row.miner_version
    assert fill_queue(engine, MiningSettings(audit_share=0)).added == {}


def test_documents_take_turns(engine: Engine, make: Any) -> None:
    same = [make(n, query=f"{ASKED} {n}", response=LIE) for n in range(6)]
    other = [make(10, query=OTHERS[1], response=LIE, contexts=make().contexts[::-1])]
    filled(engine, [*same, *other], budget=3, shares={"unfaithful": 1})
    assert other[0].record_id in {entry.record_id for entry in list_queue(engine).entries}


def test_nobody_learns_what_the_miner_says_of_audit_records(engine: Engine, make: Any) -> None:
    filled(engine, [make(n, query=f"{ASKED} {n}", response=LIE) for n in range(8)], audit_share=1, budget=4)
    listed = list_queue(engine)
    assert {entry.reason for entry in listed.entries} == {"audit"}
    assert all(entry.why is None and entry.factors is None and entry.failure is None for entry in listed.entries)
    assert "Riders pay" not in listed.text() and "drawn at random" in listed.text()
    assert len(list_queue(engine, limit=2).entries) == 2 and list_queue(engine, limit=2).waiting == {"audit": 4}


def place_all(at_least: float, frequency: dict[str, int], named: list[tuple[str, Words]]) -> list[str]:
    with scratch(TABLES) as tables:
        known = Questions(tables, at_least, frequency)
        return [known.place(Question(name, words, asked)) for asked, (name, words) in enumerate(named)]


def test_a_full_temporary_folder_is_told() -> None:
    with pytest.raises(FactoryError, match=r"temporary files failed .*free some disk space"), scratch(TABLES) as tables:
        tables.execute("PRAGMA max_page_count = 9")
        known = Questions(tables, 0.7, {})
        for n in range(1000):
            known.place(Question(f"r{n}", frozenset([f"word{n}", "other"]), n))


_WORDS = st.lists(st.sampled_from(["bike", "lock", "plan", "trial", "city", "14", "30", "motor"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(_WORDS, max_size=12), at_least=st.floats(0.3, 1))
def test_members_are_near_their_first_question(asked: list[list[str]], at_least: float) -> None:
    words = [topic_of(" ".join(some)) for some in asked]
    named = [(f"r{n}", some) for n, some in enumerate(words)]
    placed = place_all(at_least, {"bike": 3, "plan": 9}, named)
    for (_, own), cluster in zip(named, placed, strict=True):
        first = words[int(cluster[1:])]
        assert jaccard(own, first) >= at_least - 1e-9 and figures(own) == figures(first)
        assert placed[int(cluster[1:])] == cluster
    same = {}
    for some, cluster in zip(words, placed, strict=True):
        assert same.setdefault(some, cluster) == cluster, "the same words are always together"
    assert place_all(at_least, {}, named) == placed, "frequencies decide nothing"


def test_a_question_asked_again_stays_with_its_first_cluster() -> None:
    asked = [["plan"], ["bike", "lock", "plan"], ["bike", "lock"], ["bike", "lock", "plan"]]
    named = [(f"r{n}", frozenset(some)) for n, some in enumerate(asked)]
    assert place_all(0.3, {}, named) == ["r0", "r0", "r2", "r0"]


@given(people=st.integers(1, 10_000), voices=st.lists(st.floats(-1, 1), max_size=20))
def test_impact_grows_with_people_and_never_falls_with_complaints(people: int, voices: list[float]) -> None:
    asking = Asking.of(people, people, voices)
    assert 1 <= asking.impact <= Asking.of(2 * people, 2 * people, voices).impact
    assert Asking.of(people, people, [*voices, -1.0]).impact >= asking.impact - 1e-9
    assert Asking.of(1, 1, [-1.0]).impact == 1.25
