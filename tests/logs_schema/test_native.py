import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Engine

from logs_schema.importers.fields import reason_of
from logs_schema.importers.native import parse
from logs_schema.importers.run import import_files
from logs_schema.records import FeedbackKind, PromptTemplate, RagRecord, Trace
from logs_schema.store import save_records
from tests.logs_schema.log_examples import record, records, snapshot, write_lines

LINE: dict[str, Any] = {"query": "Refund window?", "response": "30 days [1].", "timestamp": "2026-03-02T10:15:04Z"}


def told(error: ValueError) -> str:
    return reason_of(error) if isinstance(error, ValidationError) else str(error)


def parsed(**fields: Any) -> RagRecord:
    (found,) = parse({**LINE, **fields}, "desk").records
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_a_record_written_as_json_parses_to_itself(one: RagRecord) -> None:
    assert parse(json.loads(one.model_dump_json()), "other").records == [one]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(records, min_size=1, max_size=4, unique_by=lambda r: (r.source, r.source_id)), st.data())
def test_any_order_any_files_and_twice_give_the_same_store(
    fresh: Callable[[], Engine], tmp_path_factory: pytest.TempPathFactory, some: list[RagRecord], data: st.DataObject
) -> None:
    direct, imported = fresh(), fresh()
    save_records(direct, some)
    folder = tmp_path_factory.mktemp("native")
    lines = []
    for one in some:
        line = one.model_dump(mode="json")
        late = line.pop("feedback")
        lines.append(line)
        lines += [{"source": one.source, "trace_id": one.source_id, "feedback": [event]} for event in late]
    lines = data.draw(st.permutations(lines))
    cut = data.draw(st.integers(0, len(lines)))
    for _ in range(2):
        for name, part in (("a", lines[:cut]), ("b", lines[cut:])):
            if part:
                import_files(imported, [write_lines(folder / f"{name}.jsonl", part)], source="x", format="native")
    assert snapshot(imported) == snapshot(direct)
    direct.dispose()
    imported.dispose()


def test_the_shortest_line() -> None:
    one = parsed()
    assert (one.source, one.contexts, one.feedback, one.prompt) == ("desk", (), (), None)
    assert one.source_id == parsed(extra={"of": "no interest"}).source_id != parsed(query="Other?").source_id


def test_shorthands() -> None:
    one = parsed(
        trace_id=77,
        contexts=["Refunds within 30 days.", {"text": "Postage is free.", "doc_id": 12, "colour": "red"}],
        thumbs="down",
        correction="Thirty days [1].",
        feedback=[{"comment": "hm"}],
        user_id=5,
    )
    assert (one.source_id, one.user_id, one.contexts[1].doc_id) == ("77", "5", "12")
    kinds = {event.kind: event for event in one.feedback}
    assert kinds[FeedbackKind.vote].value == -1 and kinds[FeedbackKind.vote].label == "thumbs_down"
    assert kinds[FeedbackKind.correction].correction == "Thirty days [1]."
    assert kinds[FeedbackKind.annotation].comment == "hm"


def test_logged_messages_tell_the_prompt() -> None:
    template = PromptTemplate(system="Be brief.")
    plain = parsed(contexts=["Refunds within 30 days.", "Postage is free."])
    messages = [message.model_dump() for message in template.render(plain.query, plain.contexts)]
    told = parsed(contexts=["Refunds within 30 days.", "Postage is free."], messages=messages)
    assert (told.prompt, told.truncated) == (template, False)


def test_a_failed_call_may_have_no_response() -> None:
    assert parsed(response=None, error="timeout").response == ""


def test_late_feedback_names_its_trace() -> None:
    ((trace, event),) = parse({"trace_id": "t", "thumbs": True}, "desk").feedback
    assert trace == Trace("desk", "t") and event.value == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"query": ""}, "query: String should have at least 1 character"),
        ({"query": 5}, "query: Input should be a valid string"),
        ({"response": None}, "response: Input should be a valid string"),
        ({"timestamp": None}, "occurred_at is missing"),
        ({"timestamp": "yesterday"}, "occurred_at is not a time"),
        ({"timestamp": 0}, "1970-.* is outside of 2000 to 2098"),
        ({"timestamp": "2099-01-01"}, "2099-.* is outside"),
        ({"timestamp": 1e300}, "occurred_at is not a time"),
        ({"timestamp": "9999-12-31T23:59:59-12:00"}, "occurred_at is not a time"),
        ({"contexts": "one"}, "contexts is not a list"),
        ({"contexts": [{"text": "a", "score": 10**400}]}, "contexts.0.score"),
        ({"contexts": [{"text": "a", "updated_at": "9999-12-31T23:59:59-12:00"}]}, "contexts.0.updated_at"),
        ({"contexts": [7]}, "contexts.0"),
        ({"thumbs": "sideways"}, "thumbs is neither up nor down"),
        ({"thumbs": 1e9}, "thumbs is neither up nor down"),
        ({"prompt_tokens": 2**40}, "prompt_tokens"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"feedback": [{"value": 7}]}, "value"),
        ({"feedback": ["bad"]}, "feedback is not a list of objects"),
        ({"session_id": "s" * 501}, "session_id"),
    ],
)
def test_wrong_lines_have_a_reason(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parsed(**fields)
    assert re.search(reason, told(caught.value))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["query", "response", "timestamp", "contexts", "feedback", "history", "messages", "tags", "thumbs"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["text", "role", "content", "value", "score", "kind"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
    )
)
def test_anything_is_a_record_or_a_reason(fields: dict[str, Any]) -> None:
    try:
        parse({**LINE, **fields}, "desk")
    except (ValueError, ValidationError) as error:
        assert str(error)


def test_the_documented_example_is_a_record(tmp_path: Path, engine: Engine) -> None:
    text = (Path(__file__).parents[2] / "docs" / "log-format.md").read_text(encoding="utf-8")
    files = []
    for name, part in zip(("logs", "chunks"), text.split("\n## Traces"), strict=True):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(line for line in part.splitlines() if line.startswith("{")), encoding="utf-8")
        files.append(str(path))
    report = import_files(engine, files[:1], chunks=files[1:])
    assert report.files[0].rejected == 0 and report.files[0].new >= 1
    assert (report.texts[0].read, report.texts[0].rejected) == (1, 0)
    for name in RagRecord.model_fields:
        assert f"`{name}`" in text, f"docs/log-format.md says nothing of {name}"
    stored = snapshot(engine)["records"]
    assert any(one.feedback for one in stored) and record(1) not in stored
