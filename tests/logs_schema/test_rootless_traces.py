"""Traces whose root was never logged or comes late, with several retrievers, in whatever order and files."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema.importers.openinference import parse
from logs_schema.importers.run import import_files
from logs_schema.importers.spans import record_of
from logs_schema.records import RagRecord
from tests.logs_schema.log_examples import NOON, snapshot, write_lines

Line = dict[str, Any]
TEXTS = ["Shoes may be returned for 30 days.", "Postage is free from 50 euros on.", "Gifts may be returned as well."]
QUESTIONS = ["How long?", "May shoes go back?"]
STEPS = ["RETRIEVER", "RETRIEVER", "RETRIEVER", "RERANKER", "LLM", "LLM", "CHAIN", "CHAIN", "TOOL", "UNKNOWN"]

documents = st.lists(
    st.builds(
        lambda number, text, other, named, score: {
            "document.content": (TEXTS[number] if not other else TEXTS[0]) if text else "",
            **({"document.id": f"d{number}"} if named or not text else {}),
            **({"document.score": score} if score else {}),
        },
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, 0.5]),
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def spans(draw: st.DrawFn) -> list[Line]:
    """Spans of a trace with parents that are there, are not, or would be the root."""
    made = []
    for number in range(draw(st.integers(2, 5))):
        kind = draw(st.sampled_from(STEPS))
        attributes: Line = {"openinference.span.kind": kind}
        if kind in {"RETRIEVER", "TOOL"}:
            attributes["retrieval.documents"] = draw(documents)
        if kind == "RERANKER":
            attributes["reranker.output_documents"] = draw(documents)
        if kind == "LLM":
            shown = draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3))
            listed = "\n\n".join(f"[{n}] {text}" for n, text in enumerate(shown, start=1))
            told = {"role": "user", "content": f"{listed}\n\n{draw(st.sampled_from(QUESTIONS))}"}
            attributes["llm.input_messages"] = [{"message": told}]
        elif draw(st.booleans()):
            attributes["input.value"] = draw(st.sampled_from(QUESTIONS))
        if kind in {"LLM", "CHAIN"} and draw(st.booleans()):
            attributes["output.value"] = draw(st.sampled_from(["30 days [1].", "Yes."]))
        parent = draw(st.sampled_from(["gone", "gone", *(f"s{n}" for n in range(number + 2) if n != number), None]))
        begin = NOON + timedelta(seconds=draw(st.integers(0, 3)))
        made.append(
            {
                "context": {"trace_id": "t1", "span_id": f"s{number}"},
                "parent_id": parent,
                "start_time": begin.isoformat(),
                "end_time": (begin + timedelta(seconds=draw(st.integers(0, 2)))).isoformat(),
                "attributes": attributes,
            }
        )
    return made


def told_by(lines: list[Line]) -> tuple[RagRecord, bool] | None:
    return record_of([span for line in lines for span in parse(line, "desk").spans], "desk")


@settings(max_examples=120, deadline=None)
@given(data=st.data(), lines=spans())
def test_no_order_matters_and_more_spans_take_no_record_away(data: st.DataObject, lines: list[Line]) -> None:
    expected = told_by(lines)
    shuffled = data.draw(st.permutations(lines))
    assert told_by(shuffled) == expected
    for number in range(1, len(lines)):
        earlier = told_by(shuffled[:number])
        assert earlier is None or expected is not None


@st.composite
def answered(draw: st.DrawFn) -> list[Line]:
    """Spans of a trace with one root, that tell of the same documents, and of one call that gave the root's answer."""
    lines, shown = draw(spans()), draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
    listed = "\n\n".join(f"[{n}] {TEXTS[number]}" for n, number in enumerate(shown, start=1))
    named = [{"document.id": f"d{number}", "document.content": TEXTS[number]} for number in shown]
    for line in lines:
        line["parent_id"] = line["parent_id"] or "s0"
        told = line["attributes"]
        if "output.value" in told:
            told["output.value"] = f"Step {line['context']['span_id']}."
        for name in {"retrieval.documents", "reranker.output_documents"} & told.keys():
            told[name] = draw(st.lists(st.sampled_from(named), min_size=1, max_size=3, unique_by=str))
    asked = draw(st.sampled_from(QUESTIONS))
    root = span("root", None, "CHAIN", 0, input__value=asked, output__value="30 days [1].")
    search = span("search", "root", "RETRIEVER", 1, retrieval__documents=draw(st.permutations(named)))
    return [root, search, sent("call", 2, f"{listed}\n\n{asked}"), *lines]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), lines=answered())
def test_nothing_that_comes_changes_a_whole_record(data: st.DataObject, lines: list[Line]) -> None:
    shuffled = data.draw(st.permutations(lines))
    expected = told_by(lines)
    for number in range(3, len(lines)):
        earlier = told_by(shuffled[:number])
        assert earlier is None or not earlier[1] or earlier == expected


def span(name: str, parent: str | None, kind: str, second: int, **attributes: Any) -> Line:
    moment = (NOON + timedelta(seconds=second)).isoformat()
    told = {"openinference.span.kind": kind, **{key.replace("__", "."): value for key, value in attributes.items()}}
    context = {"trace_id": "t1", "span_id": name}
    return {"context": context, "parent_id": parent, "start_time": moment, "end_time": moment, "attributes": told}


def sent(name: str, second: int, content: str) -> Line:
    said = [{"message": {"role": "user", "content": content}}]
    return span(name, "gone", "LLM", second, llm__input_messages=said, output__value="30 days [1].")


BY_ID, WHOLE = {"document.id": "d0"}, {"document.id": "d0", "document.content": TEXTS[0]}
OTHER = {"document.content": TEXTS[1]}
CASES = {
    "a whole that says nothing beside one that holds the answer": [
        span("s0", None, "CHAIN", 0),
        span("s1", "gone", "RETRIEVER", 0, retrieval__documents=[BY_ID], input__value=QUESTIONS[0]),
        span("s2", None, "CHAIN", 0, output__value="30 days [1]."),
    ],
    "a prompt whose first passage is another retriever's": [
        span("s0", None, "CHAIN", 0, input__value=QUESTIONS[0], output__value="30 days [1]."),
        span("s1", "s0", "RETRIEVER", 1, retrieval__documents=[{"document.id": "d1", "document.content": TEXTS[1]}]),
        sent("s2", 2, f"[1] {TEXTS[0]}\n\n[2] {TEXTS[1]}\n\nHow long?"),
        span("s3", "s0", "RETRIEVER", 1, retrieval__documents=[WHOLE, OTHER]),
    ],
    "passages that an application chose from two retrievers": [
        span("s0", None, "CHAIN", 0, input__value=QUESTIONS[0], output__value="30 days [1]."),
        span("s1", "s0", "RETRIEVER", 1, retrieval__documents=[WHOLE, OTHER]),
        sent("s2", 2, f"[1] {TEXTS[0]}\n\n[2] {TEXTS[2]}\n\nHow long?"),
        span("s3", "s0", "RETRIEVER", 1, retrieval__documents=[{"document.id": "d2", "document.content": TEXTS[2]}]),
    ],
    "a tool's result without the ids that its retriever logs": [
        span("s0", None, "CHAIN", 0, input__value=QUESTIONS[0], output__value="30 days [1]."),
        span("s1", "s0", "TOOL", 0, retrieval__documents=[{"document.content": TEXTS[0]}]),
        sent("s2", 2, f"[1] {TEXTS[0]}\n\nHow long?"),
        span("s3", "s1", "RETRIEVER", 1, retrieval__documents=[WHOLE]),
    ],
    "a text that only one of the retrievers logs": [
        span("s0", "gone", "RETRIEVER", 0, retrieval__documents=[WHOLE]),
        span("s2", "gone", "CHAIN", 0, input__value=QUESTIONS[0], output__value="30 days [1]."),
        span("s1", "gone", "RETRIEVER", 1, retrieval__documents=[BY_ID], input__value=QUESTIONS[0]),
    ],
    "a step of a retriever that looked like the whole": [
        span("s0", "s1", "CHAIN", 1, input__value=QUESTIONS[0], output__value="return shoes"),
        span("s1", "gone", "RETRIEVER", 0, retrieval__documents=[WHOLE]),
    ],
    "steps that name each other as parents": [
        span("s0", "s1", "CHAIN", 0, input__value=QUESTIONS[0], output__value="Yes."),
        span("s1", "s0", "CHAIN", 0, input__value=QUESTIONS[1], output__value="30 days [1]."),
    ],
    "a second retriever that the prompt leaves out": [
        span("s0", "gone", "RETRIEVER", 0, retrieval__documents=[WHOLE, OTHER], input__value=QUESTIONS[0]),
        sent("s2", 2, f"[1] {TEXTS[0]}\n\n[2] {TEXTS[2]}\n\nMay shoes go back?"),
        span("s1", "gone", "RETRIEVER", 1, retrieval__documents=[{"document.content": TEXTS[2]}]),
    ],
}


def check_any_files(fresh: Callable[[], Engine], folder: Path, lines: list[Line], parts: list[list[Line]]) -> None:
    """The spans at once and in several files make the same store."""
    at_once, in_parts = fresh(), fresh()
    import_files(at_once, [write_lines(folder / "all.jsonl", lines)])
    for number, part in enumerate(parts):
        import_files(in_parts, [write_lines(folder / f"{number}.jsonl", part)])
    assert snapshot(in_parts) == snapshot(at_once)
    at_once.dispose()
    in_parts.dispose()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_files_of_a_trace_may_come_in_any_order(
    fresh: Callable[[], Engine], tmp_path: Path, name: str, backwards: bool
) -> None:
    lines = CASES[name]
    check_any_files(fresh, tmp_path, lines, [[line] for line in (lines[::-1] if backwards else lines)])


def test_a_text_that_one_retriever_logs_belongs_to_the_document_everywhere(engine: Engine, tmp_path: Path) -> None:
    import_files(engine, [write_lines(tmp_path / "logs.jsonl", CASES["a text that only one of the retrievers logs"])])
    (record,) = snapshot(engine)["records"]
    assert [(context.doc_id, context.text) for context in record.contexts] == [("d0", TEXTS[0])]


def test_passages_stand_in_the_order_in_which_the_model_saw_them() -> None:
    named = [{"document.id": f"d{n}", "document.content": text} for n, text in enumerate(TEXTS)]
    lines = [
        span("s0", None, "CHAIN", 0, input__value=QUESTIONS[0], output__value="30 days [1]."),
        span("s1", "s0", "RETRIEVER", 1, retrieval__documents=named[:2]),
        span("s2", "s0", "RETRIEVER", 1, retrieval__documents=named[1:]),
        sent("s3", 2, f"[1] {TEXTS[2]}\n\n[2] {TEXTS[0]}\n\n[3] {TEXTS[1]}\n\nHow long?"),
    ]
    record, whole = told_by(lines) or pytest.fail("a record")
    assert [context.doc_id for context in record.contexts] == ["d2", "d0", "d1"] and whole
    assert record.prompt and record.prompt.user == "{contexts}\n\n{query}"


def test_what_an_application_chose_from_two_retrievers_is_what_the_model_saw() -> None:
    record, _ = told_by(CASES["passages that an application chose from two retrievers"]) or pytest.fail("a record")
    assert [context.text for context in record.contexts] == [TEXTS[0], TEXTS[2]]
    assert record.prompt and record.prompt.user == "{contexts}\n\n{query}"


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), lines=spans())
def test_any_order_and_any_files_give_the_same_store(
    fresh: Callable[[], Engine],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    lines: list[Line],
) -> None:
    shuffled = data.draw(st.permutations(lines))
    at = data.draw(st.integers(0, len(lines)))
    parts = [part for part in (shuffled[:at], shuffled[at:]) if part]
    check_any_files(fresh, tmp_path_factory.mktemp("spans"), lines, parts)
