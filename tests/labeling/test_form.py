"""What a curator sees: all of the record, as text, and nothing that gives an audit record away."""

import unicodedata
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labeling.form import form, guidelines, record_fields
from logs_schema.records import Context, Message, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import Decision, Failure
from logs_schema.visible import visible

Make = Callable[..., RagRecord]


def test_passages_are_numbered_from_one_with_title_and_date(make_record: Make) -> None:
    fields = record_fields(make_record(1), "why")
    assert fields["passages"] == (
        "[1]  Returns  ·  as of 2026-01-02\nReturns are free within 30 days.\n\n\n[2]  Shipping takes two to four days."
    )
    assert fields["question"] == "How long do I have to return order 1?"
    assert fields["answer"] == "You have 14 days for order 1 [2]."
    assert fields["why"] == "why"
    assert "conversation" not in fields


def test_what_is_missing_in_the_log_is_said(make_record: Make) -> None:
    empty = record_fields(make_record(1, contexts=(), response=" "), None)
    assert empty["passages"] == "(no passage was found)"
    assert empty["answer"] == "(no answer)"
    assert "why" not in empty
    only_id = record_fields(make_record(1, contexts=(Context(text="", doc_id="d"),)), None)
    assert only_id["passages"] == "[1]  (its text was not logged)"


def test_the_conversation_names_who_spoke(make_record: Make) -> None:
    history = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello!"))
    assert record_fields(make_record(1, history=history), None)["conversation"] == "User: Hi\n\nAssistant: Hello!"


@given(st.text())
def test_shown_text_has_nothing_invisible_and_is_otherwise_the_same(text: str) -> None:
    result = visible(text)
    assert len(result) == len(text)
    for before, after in zip(text, result, strict=True):
        assert unicodedata.category(after) not in ("Cc", "Cs") or after in "\n\t"
        assert after not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        assert before == after or unicodedata.category(before) in ("Cc", "Cs", "Cf")


def test_no_field_renders_markdown_and_every_label_is_of_the_vocabulary() -> None:
    whole = form(HouseSettings())
    assert all(field["settings"] == {"type": "text", "use_markdown": False} for field in whole["fields"])
    options: dict[str, set[Any]] = {
        question["name"]: {option["value"] for option in question["settings"].get("options", ())}
        for question in whole["questions"]
    }
    assert options["decision"] == {decision.value for decision in Decision}
    assert options["failure"] <= {failure.value for failure in Failure}
    hidden = {item["name"] for item in whole["metadata-properties"] if not item["visible_for_annotators"]}
    assert {"reason", "priority"} <= hidden


def test_guidelines_carry_version_and_house_wording_within_argillas_limit() -> None:
    text = guidelines(HouseSettings(guidelines_version="7", abstention="No idea, {version}."))
    assert text.startswith("# How to review (guidelines version 7)")
    assert "No idea, {version}." in text
    assert len(text) <= 10_000
