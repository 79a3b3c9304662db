"""Push, review and pull against the real server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select, update
from sqlmodel import Session

from labeling import client as argilla
from labeling.form import form
from labeling.pull import ABSTAINS, NO_ANSWER, PullReport, pull
from labeling.push import PushReport, correction_draft, push
from labeling.settings import LabelingSettings
from labeling.status import status
from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.records import Feedback, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.tables import QueueItem, Review

# argilla 2.8.0 still uses pydantic's class-based `Config`:
# https://github.com/argilla-io/argilla/blob/v2.8.0/argilla/src/argilla/_models/_record/_response.py
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Support for class-based `config`:pydantic.warnings.PydanticDeprecatedSince20"),
]

Make = Callable[..., RagRecord]
QueueUp = Callable[..., None]


class Loop:
    """One store and one dataset of the running server."""

    def __init__(self, engine: Engine, settings: LabelingSettings, house: HouseSettings, client: Any) -> None:
        self.engine, self.settings, self.house = engine, settings, house
        self.client = client

    def push(self, **options: Any) -> PushReport:
        return push(self.engine, self.settings, self.house, **options)

    def pull(self, **options: Any) -> PullReport:
        return pull(
            self.engine,
            self.settings,
            self.house,
            is_abstention=lambda text: text.startswith("I don't know"),
            **options,
        )

    def reviews(self) -> list[Review]:
        with Session(self.engine) as session:
            return list(session.scalars(select(Review).order_by(Review.interaction_id, Review.reviewer)))

    def in_argilla(self) -> list[dict[str, Any]]:
        client = self.client
        dataset = argilla.find_dataset(client, self.settings)
        assert dataset is not None
        found: list[dict[str, Any]] = argilla.ask(
            client, "GET", f"/api/v1/datasets/{dataset['id']}/records", params={"limit": 1000, "include": "suggestions"}
        )["items"]
        return found


@pytest.fixture
def loop(engine: Engine, labeling: LabelingSettings, house: HouseSettings) -> Iterator[Loop]:
    with argilla.session(labeling) as client:
        yield Loop(engine, labeling, house, client)


def by_question(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record["fields"]["question"]: record for record in records}


def test_the_whole_way(loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any) -> None:
    records = [make_record(n) for n in range(8)]
    queue_up(loop.engine, *records, audit=(5,))
    first = loop.push(limit=3)
    assert (first.dataset_created, first.pushed, first.waiting) == (True, 3, 5)
    second = loop.push()
    assert (second.dataset_created, second.pushed, second.waiting, second.already_there) == (False, 5, 0, 0)
    assert loop.push().pushed == 0
    assert {record["external_id"] for record in loop.in_argilla()} == {record.record_id for record in records}

    ada, bob = log_in("ada"), log_in("bob")
    seen = by_question(ada.search(loop.settings.dataset))
    asked = [record.query for record in records]
    assert set(seen) == set(asked)
    ada.respond(seen[asked[0]], decision="answer", ideal_answer=" 30 days [1]. ", failure="unfaithful", comment="hm")
    ada.respond(seen[asked[1]], decision="abstain", ideal_answer="left in the box")
    ada.respond(seen[asked[5]], decision="good_as_is")
    ada.respond(seen[asked[2]], "draft", decision="answer")
    bob.respond(seen[asked[0]], decision="not_usable")

    report = loop.pull()
    assert (report.new, report.changed, report.unchanged, report.withdrawn) == (4, 0, 0, 0)
    assert report.by_decision == {"answer": 1, "abstain": 1, "good_as_is": 1, "not_usable": 1}
    reviews = {(review.interaction_id, review.reviewer): review for review in loop.reviews()}
    mine = reviews[records[0].record_id, "ada"]
    assert (mine.decision, mine.ideal_answer, mine.failure, mine.comment) == (
        "answer", "30 days [1].", "unfaithful", "hm",
    )  # fmt: skip
    assert (mine.audit, mine.draft, mine.draft_source) == (False, None, "none")
    assert mine.record_hash == records[0].exchange_hash
    assert mine.guidelines_version == loop.house.guidelines_version
    assert reviews[records[1].record_id, "ada"].ideal_answer is None
    assert reviews[records[5].record_id, "ada"].audit is True
    assert (records[0].record_id, "bob") in reviews

    again = loop.pull()
    assert (again.new, again.changed, again.unchanged) == (0, 0, 4)
    assert [review.model_dump() for review in loop.reviews()] == [reviews[key].model_dump() for key in sorted(reviews)]

    told = status(loop.engine, loop.settings)
    assert (told.records, told.completed, told.pushed, told.reviewed) == (8, 3, 8, 3)
    assert {curator.name: curator.submitted for curator in told.curators} == {"ada": 3, "bob": 1}


def test_changed_and_withdrawn_responses(loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any) -> None:
    records = [make_record(n) for n in range(4)]
    queue_up(loop.engine, *records)
    loop.push()
    ada = log_in("ada")
    seen = by_question(ada.search(loop.settings.dataset))
    mine = [seen[record.query] for record in records]
    for record in mine:
        ada.respond(record, decision="answer", ideal_answer="30 days [1].")
    assert loop.pull().new == 4
    ada.respond(mine[0], decision="good_as_is")
    ada.respond(mine[1], "discarded")
    ada.respond(mine[2], decision="answer")  # no longer complete
    report = loop.pull()
    assert (report.new, report.changed, report.unchanged, report.withdrawn) == (0, 1, 1, 2)
    assert [(item.record_id, item.reason) for item in report.incomplete] == [(records[2].record_id, NO_ANSWER)]
    assert {review.interaction_id: review.decision for review in loop.reviews()} == {
        records[0].record_id: "good_as_is",
        records[3].record_id: "answer",
    }
    ada.respond(mine[1], decision="abstain")
    assert loop.pull().new == 1


def test_a_discarded_response_without_values_breaks_nothing(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    queue_up(loop.engine, make_record(1))
    loop.push()
    ada, bob = log_in("ada"), log_in("bob")
    [record] = ada.search(loop.settings.dataset)
    ada.http.post(f"/api/v1/records/{record['id']}/responses", json={"status": "discarded", "values": None})
    bob.respond(record, decision="abstain")
    assert loop.pull().new == 1
    assert loop.pull().unchanged == 1


def test_an_ideal_answer_that_abstains_is_not_accepted_and_weak_ones_are_listed(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    records = [make_record(n) for n in range(3)]
    queue_up(loop.engine, *records)
    loop.push()
    ada = log_in("ada")
    seen = by_question(ada.search(loop.settings.dataset))
    ada.respond(seen[records[0].query], decision="answer", ideal_answer="I don't know.")
    ada.respond(seen[records[1].query], decision="answer", ideal_answer="30 days [1].")
    ada.respond(seen[records[2].query], decision="answer", ideal_answer="On Mars.")
    report = loop.pull(groundedness=lambda pairs: [float(answer.split()[0] in texts[0]) for answer, texts in pairs])
    assert [(item.record_id, item.reason) for item in report.incomplete] == [(records[0].record_id, ABSTAINS)]
    assert report.unsupported == (records[2].record_id,)
    assert report.new == 2
    assert "less than 0.50 support" in report.text()


def test_a_push_that_was_cut_off_before_it_noted_it_is_completed(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    queue_up(loop.engine, *[make_record(n) for n in range(5)])
    loop.push(limit=2)
    [record, *_] = loop.in_argilla()
    log_in("ada").respond(record, decision="abstain")
    with loop.engine.begin() as connection:
        connection.execute(update(QueueItem).values(pushed_at=None, pushed_to=None))
    report = loop.push()
    assert (report.pushed, report.already_there) == (3, 2)
    assert len(loop.in_argilla()) == 5
    assert {item["metadata"]["reason"] for item in loop.in_argilla()} == {"finding"}
    assert loop.pull().new == 1


def test_a_dataset_that_was_cut_off_while_it_was_made_is_made_anew(
    loop: Loop, make_record: Make, queue_up: QueueUp
) -> None:
    queue_up(loop.engine, make_record(1))
    client = loop.client
    body = {"name": loop.settings.dataset, "workspace_id": argilla.workspace_id(client, loop.settings)}
    half = argilla.ask(client, "POST", "/api/v1/datasets", json=body)["id"]
    argilla.ask(client, "POST", f"/api/v1/datasets/{half}/fields", json=form(loop.house)["fields"][0])
    report = loop.push()
    assert (report.dataset_created, report.pushed) == (True, 1)


def test_records_of_a_deleted_dataset_are_pushed_again_but_their_reviews_stay(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    records = [make_record(n) for n in range(3)]
    queue_up(loop.engine, *records)
    loop.push()
    ada = log_in("ada")
    seen = by_question(ada.search(loop.settings.dataset))
    ada.respond(seen[records[0].query], decision="abstain")
    loop.pull()
    client = loop.client
    dataset = argilla.find_dataset(client, loop.settings)
    assert dataset is not None
    argilla.ask(client, "DELETE", f"/api/v1/datasets/{dataset['id']}")
    with pytest.raises(NotReadyError, match="run `factory label push` first"):
        loop.pull()
    assert loop.push().pushed == 2
    assert loop.pull().withdrawn == 0
    assert [review.interaction_id for review in loop.reviews()] == [records[0].record_id]


def test_the_reviews_of_a_deleted_user_stay(loop: Loop, make_record: Make, queue_up: QueueUp) -> None:
    queue_up(loop.engine, make_record(1))
    loop.push()
    [record] = loop.in_argilla()
    client = loop.client
    user = argilla.ask(
        client, "POST", "/api/v1/users",
        json={"username": "guest", "first_name": "g", "role": "annotator", "password": "long enough"},
    )  # fmt: skip
    answer = {"user_id": user["id"], "status": "submitted", "values": {"decision": {"value": "abstain"}}}
    argilla.ask(
        client, "PUT", f"/api/v1/datasets/{record['dataset_id']}/records/bulk",
        json={"items": [{"id": record["id"], "fields": record["fields"], "responses": [answer]}]},
    )  # fmt: skip
    assert loop.pull().new == 1
    argilla.ask(client, "DELETE", f"/api/v1/users/{user['id']}")
    report = loop.pull()
    assert report.withdrawn == 0
    assert [review.reviewer for review in loop.reviews()] == ["guest"]


def test_drafts_go_along_and_come_back_but_never_for_audit_records(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    correction = Feedback(identifier="f", kind="correction", correction="You have 30 days.")
    records = [make_record(n, feedback=(correction,)) for n in range(2)]
    queue_up(loop.engine, *records, audit=(1,))
    assert loop.push(draft=correction_draft).drafts == 1
    there = {record["external_id"]: record for record in loop.in_argilla()}
    audit = there[records[1].record_id]
    assert audit["suggestions"] == []
    assert "why" not in audit["fields"]
    assert "flagged_as" not in audit["metadata"]
    ada = log_in("ada")
    seen = by_question(ada.search(loop.settings.dataset))
    assert [set(record["metadata"]) for record in seen.values()].count(
        set()
    ) == 1  # all that ada sees of the audit record
    ada.respond(seen[records[0].query], decision="answer", ideal_answer="You have 30 days [1].")
    loop.pull()
    [review] = loop.reviews()
    assert (review.draft, review.draft_source) == ("You have 30 days.", "correction")


def test_new_guidelines_reach_the_page_and_the_next_reviews(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    queue_up(loop.engine, make_record(1))
    loop.push()
    loop.house = HouseSettings(guidelines_version="2")
    queue_up(loop.engine, make_record(2))
    loop.push()
    dataset = argilla.find_dataset(loop.client, loop.settings)
    assert dataset is not None
    assert "(guidelines version 2)" in dataset["guidelines"]
    ada = log_in("ada")
    for record in ada.search(loop.settings.dataset):
        ada.respond(record, decision="abstain")
    loop.pull()
    assert sorted(review.guidelines_version for review in loop.reviews()) == ["1", "2"]


def test_a_dataset_of_someone_else_is_left_alone(loop: Loop, make_record: Make, queue_up: QueueUp) -> None:
    queue_up(loop.engine, make_record(1))
    client = loop.client
    body = {"name": loop.settings.dataset, "workspace_id": argilla.workspace_id(client, loop.settings)}
    other = argilla.ask(client, "POST", "/api/v1/datasets", json=body)["id"]
    whole = form(loop.house)
    argilla.ask(client, "POST", f"/api/v1/datasets/{other}/fields", json=whole["fields"][0])
    argilla.ask(client, "POST", f"/api/v1/datasets/{other}/questions", json=whole["questions"][0])
    argilla.ask(client, "PUT", f"/api/v1/datasets/{other}/publish")
    with pytest.raises(ConfigurationError, match="lacks answer, conversation, passages, why"):
        loop.push()
    assert loop.in_argilla() == []


def test_status_without_a_server_still_tells_the_queue(
    engine: Engine, free_url: str, tmp_path: Any, make_record: Make, queue_up: QueueUp
) -> None:
    queue_up(engine, make_record(1), make_record(2), audit=(0,))
    told = status(engine, LabelingSettings(api_url=free_url, home=str(tmp_path)), api_key="x")
    assert told.queued == {"audit": 1, "finding": 1}
    assert told.records is None
    assert told.problem is not None
    assert "factory label serve" in told.problem


def test_what_the_search_offers_is_answered(loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any) -> None:
    records = [make_record(1), make_record(2, query="50% off_er \\ Größe 北京 <img>"), make_record(3, contexts=())]
    queue_up(loop.engine, *records, audit=(2,))
    loop.push()
    ada = log_in("ada")
    dataset = loop.settings.dataset

    def found(text: str | None = None, **body: Any) -> set[str]:
        return {record["fields"]["question"] for record in ada.search(dataset, text, **body)}

    asked = [record.query for record in records]
    assert found() == set(asked)
    for text, expected in {
        "50%": [1], "off_er": [1], "offxer": [], "größe": [1], "北京": [1], "<IMG>": [1], "\\": [1],
        "return 'order": [], 'return -"order 3"': [0, 1], '"order 3" | 北京': [1, 2], "": [], "(((": [],
    }.items():  # fmt: skip
        assert found(text) == {asked[at] for at in expected}, text
    assert found(query={"text": {"q": "30", "field": "passages"}}) == {asked[0], asked[1]}
    assert found(query={"text": {"q": "30", "field": "question"}}) == set()

    def terms(values: list[str], **scope: str) -> dict[str, Any]:
        return {"and": [{"type": "terms", "scope": scope, "values": values}]}

    [first, *_] = [record for record in ada.search(dataset) if record["fields"]["question"] == asked[0]]
    ada.respond(first, decision="answer", ideal_answer="30 days [1].")
    status_scope = {"entity": "response", "property": "status"}
    assert found(filters=terms(["submitted"], **status_scope)) == {asked[0]}
    assert found(filters=terms(["pending"], **status_scope)) == {asked[1], asked[2]}
    assert found(filters=terms(["pending", "submitted"], **status_scope)) == set(asked)
    assert found(filters=terms(["no-such"], **status_scope)) == set()
    assert found(filters=terms(["completed"], entity="record", property="status")) == {asked[0]}
    assert found(filters=terms([first["id"]], entity="record", property="id")) == {asked[0]}
    assert found(filters=terms(["answer"], entity="response", question="decision")) == {asked[0]}
    assert found(filters=terms(["unfaithful"], entity="metadata", metadata_property="flagged_as")) == set(asked[:2])
    assert found(filters=terms(["x"], entity="suggestion", question="decision", property="agent")) == set()
    above = {"type": "range", "scope": {"entity": "metadata", "metadata_property": "priority"}, "ge": 0.9985}
    assert found(filters={"and": [above]}) == set(asked[:2])
    since = {"type": "range", "scope": {"entity": "record", "property": "inserted_at"}, "ge": "2020-01-01"}
    assert found(filters={"and": [since]}) == set(asked)
    for scope in (
        {"entity": "metadata", "metadata_property": "priority"},
        {"entity": "record", "property": "inserted_at"},
        {"entity": "response", "question": "decision"},
        {"entity": "response", "property": "status"},
        {"entity": "suggestion", "question": "decision", "property": "score"},
    ):
        for order in ("asc", "desc"):
            assert found(sort=[{"scope": scope, "order": order}]) == set(asked)
    ranked = ada.search(
        dataset, sort=[{"scope": {"entity": "metadata", "metadata_property": "priority"}, "order": "desc"}]
    )
    assert [record["fields"]["question"] for record in ranked] == asked

    properties = ada.http.get(f"/api/v1/me/datasets/{ada.dataset_id(dataset)}/metadata-properties").json()["items"]
    for item in properties:
        metrics = ada.http.get(f"/api/v1/metadata-properties/{item['id']}/metrics").raise_for_status().json()
        if item["name"] == "flagged_as":
            assert metrics == {"type": "terms", "total": 2, "values": [{"term": "unfaithful", "count": 2}]}
    mine = ada.http.get(f"/api/v1/me/datasets/{ada.dataset_id(dataset)}/metrics").raise_for_status().json()
    assert mine["responses"] == {"total": 3, "submitted": 1, "discarded": 0, "draft": 0, "pending": 2}


def test_what_the_search_does_not_offer_is_refused_clearly(loop: Loop, make_record: Make, queue_up: QueueUp) -> None:
    queue_up(loop.engine, make_record(1))
    loop.push()
    client = loop.client
    dataset = argilla.find_dataset(client, loop.settings)
    assert dataset is not None
    path = f"/api/v1/datasets/{dataset['id']}"
    argilla.ask(client, "POST", f"{path}/vectors-settings", json={"name": "v", "title": "v", "dimensions": 2})
    unusable = [
        {"scope": {"entity": "response", "property": "status"}, "ge": 1},
        {"scope": {"entity": "record", "property": "inserted_at"}, "ge": "soon"},
        {"scope": {"entity": "metadata", "metadata_property": "priority"}, "ge": "x"},
    ]
    bodies: list[dict[str, Any]] = [{"filters": {"and": [{"type": "range", **filter}]}} for filter in unusable]
    for body in [*bodies, {"query": {"vector": {"name": "v", "value": [1.0, 0.0]}}}]:
        with pytest.raises(InputError, match="422"):
            argilla.ask(client, "POST", f"{path}/records/search", json=body)


def test_two_curators_have_different_stable_orders(
    loop: Loop, make_record: Make, queue_up: QueueUp, log_in: Any
) -> None:
    queue_up(loop.engine, *[make_record(n) for n in range(30)])
    loop.push()
    orders = [[record["id"] for record in log_in(name).search(loop.settings.dataset)] for name in ("ada", "bob", "ada")]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != [record["id"] for record in loop.in_argilla()]
