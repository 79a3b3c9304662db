import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as rounds
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema.document_views import load_document
from logs_schema.errors import ConfigurationError
from logs_schema.importers.document_feed import import_documents
from logs_schema.importers.feedback_feed import import_feedback
from logs_schema.importers.run import import_files
from logs_schema.keys import store_key
from logs_schema.pii.detect import Detector
from logs_schema.pii.replace import Cleaner, cleaner
from logs_schema.records import Context, Message, PromptTemplate, RagRecord, Trace
from logs_schema.rows import feedback_of
from logs_schema.settings import PiiSettings
from logs_schema.store import load_records
from tests.logs_schema.log_examples import record, snapshot, spans_of, vote, write_lines

ROOT = Path(__file__).parents[2]
KEY = bytes(32)
sys.path.insert(0, str(ROOT / "scripts"))


def clean(value: RagRecord, **settings: Any) -> RagRecord:
    return Cleaner(PiiSettings(**settings), KEY).value(value)


def test_one_value_has_one_placeholder_in_all_of_a_record() -> None:
    found = clean(
        record(
            1,
            query="I am Jane.Doe@example.com, phone 4155552671. Is 4155552671 right?",
            history=(Message(role="user", content="Hi, jane.doe@example.com here"),),
            response="We wrote to JANE.DOE@EXAMPLE.COM [1] and call 4155552671 [2].",
            contexts=(Context(text="Ask (415) 555-2671.\nOr 4155552671", doc_id="4155552671", title="a@b.example"),),
            prompt=PromptTemplate(system="You help jane.doe@example.com."),
            user_id="jane.doe@example.com",
            tags=("vip", "jane.doe@example.com"),
            error="no mailbox jane.doe@example.com",
            feedback=(vote("+1 415 555 2671", comment="I am jane.doe@example.com", by="u-7"),),
        )
    )
    mail, phone = found.user_id, found.contexts[0].text.removeprefix("Ask ").partition(".")[0]
    assert mail and mail.startswith("<EMAIL_") and phone.startswith("<PHONE_")
    assert found.query == f"I am {mail}, phone {phone}. Is {phone} right?"
    assert found.history[0].content == f"Hi, {mail} here"
    assert found.response == f"We wrote to {mail} [1] and call {phone} [2]."
    assert found.contexts[0].text == f"Ask {phone}.\nOr {phone}" and found.contexts[0].doc_id == "4155552671"
    assert found.prompt and found.prompt.system == f"You help {mail}."
    assert found.tags == ("vip", mail) and found.error == f"no mailbox {mail}"
    event = found.feedback[0]
    assert (event.identifier, event.comment, event.by) == (phone, f"I am {mail}", "u-7")
    assert RagRecord.model_validate(found.model_dump()) == found == clean(found)


def test_what_holds_nothing_stays_the_same_object() -> None:
    plain = record(1, query="Order 4155552671 of 2026-03-02, version 1.2.3?")
    assert clean(plain) is plain


def test_other_keys_give_other_placeholders() -> None:
    texts = {Cleaner(PiiSettings(), key).text("a@b.example") for key in (bytes(32), bytes([1]) * 32)}
    assert len(texts) == 2


def test_allowed_values_and_domains_are_kept() -> None:
    allow = ("@shop.example", "jane@x.example", "+1 415 555 2671")
    text = "help@shop.example jane@x.example joe@x.example +1 415 555 2671"
    found = Cleaner(PiiSettings(allow=allow), KEY).text(text)
    assert found.startswith("help@shop.example jane@x.example <EMAIL_") and found.endswith("> +1 415 555 2671")


def test_only_the_configured_entities_are_replaced(engine: Engine) -> None:
    text = "a@b.example from 81.23.44.7"
    found = Cleaner(PiiSettings(entities=("IP_ADDRESS",)), KEY).text(text)
    assert found.startswith("a@b.example from <IP_")
    assert cleaner(engine, PiiSettings(enabled=False)) is None


def test_languages_say_where_a_telephone_number_is_looked_up() -> None:
    number = "Call 030 901820, please"
    assert Cleaner(PiiSettings(), KEY).text(number) == number
    for settings in (PiiSettings(languages=("en", "de")), PiiSettings(regions=("DE",))):
        assert "<PHONE_" in Cleaner(settings, KEY).text(number)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (PiiSettings(entities=("PERSON",)), r"need a named-entity model|need Presidio"),
        (PiiSettings(languages=("xx",)), "no country is known for 'xx'"),
    ],
)
def test_what_cannot_be_had_is_told(settings: PiiSettings, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Detector(settings)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # spaCy and Presidio warn of their own dependencies
def test_presidio_and_a_named_entity_model(tmp_path: Path) -> None:
    import spacy

    model = spacy.blank("en")
    model.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Jane Doe"}])
    model.to_disk(tmp_path / "model")
    settings = PiiSettings(
        entities=("EMAIL_ADDRESS", "US_SSN", "PERSON"), models={"en": str(tmp_path / "model")}, allow=("Jane Roe",)
    )
    found = Cleaner(settings, KEY)
    said = found.text("Jane Doe, jane@x.example, SSN 536-90-4399.\nYes, Jane Doe.")
    name = found.text("Jane Doe")
    assert name.startswith("<PERSON_") and said.startswith(f"{name}, <EMAIL_") and said.endswith(f"Yes, {name}.")
    assert "<US_SSN_" in said and found.text(said) == said
    for wrong, reason in (
        (PiiSettings(entities=("NO_SUCH",)), "NO_SUCH is not known; Presidio knows"),
        (PiiSettings(entities=("PERSON",), models={"en": "en_core_web_sm"}), "neither an installed spaCy package"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            Detector(wrong)


@rounds(deadline=None)
@given(
    st.lists(st.sampled_from(["a@b.example", "+1 415 555 2671", "81.23.44.7", "[1]", " ", "\n", "word", "1.2", "<"]))
)
def test_cleaning_again_changes_nothing_and_keeps_lines_and_citations(parts: list[str]) -> None:
    text = " ".join(parts)
    once = Cleaner(PiiSettings(), KEY).text(text)
    assert Cleaner(PiiSettings(), KEY).text(once) == once
    assert once.count("\n") == text.count("\n") and once.count("[1]") == text.count("[1]")
    assert "@" not in once and "81.23" not in once


@pytest.mark.parametrize(
    "piece", ["1", "a@", "@", "1.", "+", "DE89 ", "1 ", "2:", "a", "((", "4111 1111 ", "a.b@c.de "]
)
def test_the_time_is_linear_in_hostile_text(piece: str) -> None:
    def seconds(size: int) -> float:
        found = Detector(PiiSettings(languages=("en", "de")))
        began = time.process_time()
        found.find(piece * (size // len(piece)))
        return time.process_time() - began

    seconds(1000)
    assert seconds(200_000) < 4


def test_nothing_personal_is_stored(engine: Engine, store_url: str, tmp_path: Path) -> None:
    line = {
        "trace_id": "t1",
        "timestamp": "2026-03-02T10:00:00Z",
        "query": "I am jane@x.example",
        "response": "Hello jane@x.example [1].",
        "contexts": [{"text": "Write to jane@x.example.", "doc_id": "kb"}],
        "user_id": "jane@x.example",
    }
    late = {"trace_id": "t1", "feedback": [{"kind": "correction", "correction": "jane@x.example is right [1]."}]}
    bad = {"trace_id": "t2", "query": "jane@x.example", "response": 1}
    file = write_lines(tmp_path / "logs.jsonl", [line, late, bad])
    settings, rejects = PiiSettings(), tmp_path / "rejects"
    report = import_files(engine, [file], rejects=rejects, clean=cleaner(engine, settings))
    assert report.replaced == {"EMAIL": 6} and "EMAIL 6" in report.text()
    first = snapshot(engine)
    (stored,) = first["records"]
    mail = stored.user_id
    assert stored.feedback[0].correction == f"{mail} is right [1]." and stored.query == f"I am {mail}"
    again = import_files(engine, [file], rejects=rejects, clean=cleaner(engine, settings)).files[0]
    assert (again.new, again.updated, again.unchanged) == (0, 0, 1) and snapshot(engine) == first
    kept = b"".join(path.read_bytes() for path in [*tmp_path.glob("store.db*"), *rejects.iterdir()])
    assert b"jane" not in kept and mail.encode() in kept
    assert store_key(engine) == store_key(engine)


def test_nothing_personal_comes_from_a_chunk_store(engine: Engine, tmp_path: Path) -> None:
    line = {"trace_id": "t", "query": "Q?", "response": "R.", "timestamp": "2026-03-02", "contexts": [{"doc_id": "d"}]}
    rows = [
        {"doc_id": "d", "text": "Ask jane@example.com.", "title": "Of jane@example.com"},
        {"text": "jane@example.com"},
    ]
    logs, chunks = (write_lines(tmp_path / f"{n}.jsonl", some) for n, some in enumerate(([line], rows)))
    clean = cleaner(engine, PiiSettings())
    report = import_files(engine, [logs], chunks=[chunks], rejects=tmp_path / "rejects", clean=clean)
    (stored,) = snapshot(engine)["records"]
    placeholder = stored.contexts[0].text.removeprefix("Ask ").removesuffix(".")
    assert placeholder.startswith("<EMAIL_") and stored.contexts[0].title == f"Of {placeholder}"
    assert report.texts[0].rejected == 1 and report.replaced == {"EMAIL": 3}
    (rejected,) = (tmp_path / "rejects").iterdir()
    assert placeholder in rejected.read_text() and "jane" not in rejected.read_text()


def test_nothing_personal_comes_from_the_feeds(engine: Engine, tmp_path: Path) -> None:
    clean = cleaner(engine, PiiSettings())
    told = [
        {"trace_id": "t", "thumbs": "down", "comment": "jane@example.com was not called", "by": "jane@example.com"},
        {"comment": "jane@example.com", "thumbs": "up"},
    ]
    report = import_feedback(
        engine, [write_lines(tmp_path / "votes.jsonl", told)], rejects=tmp_path / "rejects", clean=clean
    )
    trace = Trace("production", "t")
    with engine.connect() as connection:
        (saved,) = feedback_of(connection, [trace])[trace]
    assert saved.by and saved.comment == f"{saved.by} was not called" and saved.by.startswith("<EMAIL_")
    assert report.replaced == {"EMAIL": 3} and "EMAIL 3" in report.text()
    page = {"doc_id": "d", "version": 2, "title": "Of jane@example.com", "text": "Ask jane@example.com.\n"}
    pages = write_lines(tmp_path / "pages.jsonl", [page, {"text": "jane@example.com"}])
    import_documents(engine, [pages], rejects=tmp_path / "rejects", clean=clean)
    (version,) = load_document(engine, "d").versions
    assert (version.title, version.text) == (f"Of {saved.by}", f"Ask {saved.by}.\n")
    kept = b"".join(path.read_bytes() for path in [*tmp_path.glob("store.db*"), *(tmp_path / "rejects").iterdir()])
    assert b"jane" not in kept and saved.by.encode() in kept


def test_spans_that_are_cleaned_alone_still_join(engine: Engine, fresh: Callable[[], Engine], tmp_path: Path) -> None:
    """The prompt template is read off cleaned messages, however the spans come."""
    spans = json.loads(json.dumps(spans_of(1)).replace("says 0", "says: ask help@x.example or (415) 555-2671"))
    other = fresh()
    import_files(engine, [write_lines(tmp_path / "a.jsonl", spans)], clean=cleaner(engine, PiiSettings()))
    for number, span in enumerate(reversed(spans)):
        file = write_lines(tmp_path / f"{number}.jsonl", [span])
        import_files(other, [file], clean=Cleaner(PiiSettings(), store_key(engine)))
    one, two = snapshot(engine), snapshot(other)
    assert one["records"] == two["records"] and one["passages"] == two["passages"]
    (stored,) = one["records"]
    assert stored.prompt and stored.truncated is False and "<EMAIL_" in stored.contexts[0].text
    assert load_records(engine, [stored.record_id])
    other.dispose()


def test_the_documented_quality_is_what_is_measured() -> None:
    from pii_quality import measure, sentences  # type: ignore[import-not-found]

    table = measure()
    assert len(sentences()) >= 200
    assert "\n".join(table) in (ROOT / "docs/privacy.md").read_text(), "run: python scripts/pii_quality.py"
