"""Whether the corpus holds what the contexts did not, and which versions of a document were there."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from factory.mining.corpus import PASSAGE, pieces
from factory.mining.findings import load_finding
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from factory.mining.text import content_words, sentences
from logs_schema.documents import Document, save_documents
from logs_schema.records import Context, Feedback, FeedbackKind
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records, writing
from logs_schema.taxonomy import Failure, Route

HOUSE = HouseSettings()
SETTINGS = MiningSettings()
F = Failure
BATTERY = (
    "Charging. The battery of the cargo bike lasts about 60 kilometres. It is charged in four hours with the "
    "charger that comes with the bike. Never charge a wet battery."
)
UNSURE = "I don't know."


def feed(engine: Engine, *documents: Document) -> None:
    with writing(engine) as connection:
        save_documents(connection, documents)


def mined(engine: Engine, record: Any) -> Any:
    save_records(engine, [record])
    mine(engine, SETTINGS, HOUSE)
    return load_finding(engine, record.record_id)


def corpus(count: int = 30) -> list[Document]:
    filler = "The office in {n} street opens at nine. Parcels are handed over there. Ask for desk {n}."
    return [Document(doc_id=f"office-{n}", version="1", text=filler.format(n=n)) for n in range(count)]


def test_what_the_corpus_holds_is_a_retrieval_miss(engine: Engine, make: Any) -> None:
    feed(engine, *corpus(), Document(doc_id="battery", version="3", title="Batteries", text=BATTERY))
    asked = "how many kilometres does the battery of the cargo bike last"
    finding = mined(engine, make(1, query=asked, response=UNSURE))
    assert (finding.failure, finding.route) == (F.retrieval_miss, Route.retrieval)
    assert "Yet the corpus holds it" in finding.why and '"Batteries"' in finding.why
    (item,) = [item for item in finding.evidence if item.kind == "corpus"]
    assert (
        "31 documents and 2 passages that production ever retrieved were searched" in item.note
        and '"battery"' in item.note
        and item.score
        and item.score > 0.5
    )
    answers = mined(engine, make(2, query=asked, response="It lasts 500 miles in all weathers."))
    assert (answers.failure, answers.secondary) == (F.missing_abstention, (F.retrieval_miss,))
    nothing = mined(engine, make(3, query=asked, response=UNSURE, contexts=()))
    assert nothing.failure is F.retrieval_miss and nothing.why.startswith("Nothing was retrieved")


def test_what_no_document_covers_is_a_knowledge_gap(engine: Engine, make: Any) -> None:
    feed(engine, *corpus(), Document(doc_id="battery", version="3", text=BATTERY))
    finding = mined(engine, make(1, query="who won the battle of waterloo", response=UNSURE))
    assert (finding.failure, finding.route) == (F.knowledge_gap, Route.content)
    assert finding.why.endswith("No document of the corpus covers it either.")


def test_without_a_feed_nothing_is_claimed_and_the_first_one_mines_again(engine: Engine, make: Any) -> None:
    record = make(1, query="who won the battle of waterloo", response=UNSURE)
    assert mined(engine, record).failure is F.insufficient_context
    good = make(2)
    save_records(engine, [good])
    mine(engine, SETTINGS, HOUSE)
    feed(engine, Document(doc_id="hash only", text_hash="77"))
    assert mine(engine, SETTINGS, HOUSE).mined == 0
    assert mined(engine, record).failure is F.insufficient_context
    feed(engine, *corpus())
    report = mine(engine, SETTINGS, HOUSE)
    assert report.mined == 1 and report.failures == {"knowledge_gap": 1, "none": 1}
    feed(engine, *corpus())
    assert mine(engine, SETTINGS, HOUSE).mined == 0


def test_passages_of_other_records_show_what_the_corpus_holds(engine: Engine, make: Any) -> None:
    asked = "how many kilometres does the battery of the cargo bike last"
    shown = Context(text=BATTERY, doc_id="battery", title="Batteries")
    other = make(1, query="how is the battery charged", contexts=(shown,), response="Within four hours [1].")
    save_records(engine, [other])
    finding = mined(engine, make(2, query=asked, response=UNSURE))
    assert finding.failure is F.retrieval_miss and "found for other questions" in finding.why
    assert "60 kilometres" not in finding.why, "what may be forgotten is not quoted"
    (item,) = [item for item in finding.evidence if item.kind == "corpus"]
    assert item.document == "battery" and "60 kilometres" not in item.note
    mine_alone = make(3, query=asked, response=UNSURE, contexts=(shown.model_copy(update={"text": "Batteries."}),))
    assert mined(engine, mine_alone).failure is F.retrieval_miss
    unknown = mined(engine, make(4, query="who won the battle of waterloo", response=UNSURE))
    assert unknown.failure is F.insufficient_context, "passages of logs are not the whole corpus"


def test_passages_that_not_everybody_may_read_are_no_miss(engine: Engine, make: Any) -> None:
    shown = Context(text=BATTERY, doc_id="battery", groups=("staff",))
    save_records(engine, [make(1, query="how is the battery charged", contexts=(shown,))])
    asked = "how many kilometres does the battery of the cargo bike last"
    assert mined(engine, make(2, query=asked, response=UNSURE)).failure is F.insufficient_context


def test_outdated_passages_of_other_records_are_not_searched(engine: Engine, make: Any) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    old = Context(text=BATTERY, doc_id="battery", updated_at=day)
    new = Context(text="This page has moved.", doc_id="battery", updated_at=day + timedelta(days=1))
    save_records(engine, [make(n, query="how is it charged", contexts=(shown,)) for n, shown in enumerate((old, new))])
    asked = "how many kilometres does the battery of the cargo bike last"
    assert mined(engine, make(5, query=asked, response=UNSURE)).failure is F.insufficient_context


def test_a_much_better_passage_outweighs_a_barely_sufficient_context(engine: Engine, make: Any) -> None:
    near = Context(text="The battery of the cargo bike is strong.", doc_id="ads")
    asked = "how many kilometres does the battery of the cargo bike last"
    record = make(1, query=asked, contexts=(near,), response="It lasts 500 miles in all weathers.")
    alone = mined(engine, record)
    assert alone.scores.sufficiency is not None and 0.5 < alone.scores.sufficiency < 0.7
    assert alone.failure is F.unfaithful
    feed(engine, *corpus(), Document(doc_id="battery", version="3", text=BATTERY))
    found = mined(engine, record.model_copy(update={"source_id": "again"}))
    assert (found.failure, found.secondary) == (F.missing_abstention, (F.retrieval_miss,))


def test_withdrawn_and_old_texts_are_not_searched(engine: Engine, make: Any) -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    feed(
        engine,
        *corpus(),
        Document(doc_id="gone", updated_at=day, text=BATTERY),
        Document(doc_id="gone", updated_at=day + timedelta(days=9), withdrawn=True),
        Document(doc_id="changed", version="9", text=BATTERY),
        Document(doc_id="changed", version="10", text="This page has moved."),
    )
    asked = "how many kilometres does the battery of the cargo bike last"
    assert mined(engine, make(1, query=asked, response=UNSURE)).failure is F.knowledge_gap


def test_a_correction_that_the_corpus_holds_is_a_retrieval_miss(engine: Engine, make: Any) -> None:
    feed(engine, *corpus(), Document(doc_id="battery", version="3", text=BATTERY))
    said = Feedback(identifier="c", kind=FeedbackKind.correction, correction="The battery lasts about 60 kilometres.")
    finding = mined(engine, make(1, query="how far can i ride", response="Very far indeed.", feedback=(said,)))
    assert (finding.failure, finding.secondary) == (F.missing_abstention, (F.retrieval_miss,))
    assert "The corpus holds it" in finding.why


def test_what_was_retrieved_already_is_no_miss(engine: Engine, make: Any) -> None:
    record = make(1, query="what does the gold plan for teams cost in winter", response=UNSURE)
    feed(engine, *(Document(doc_id=c.doc_id or "", version="1", text=c.text) for c in record.contexts))
    assert mined(engine, record).failure in (F.insufficient_context, F.knowledge_gap)


def test_the_feed_tells_which_version_was_there(engine: Engine, make: Any) -> None:
    asked_at = datetime(2026, 11, 2, tzinfo=UTC)

    def version(number: int, days: int, *, withdrawn: bool = False) -> Document:
        moment = asked_at + timedelta(days=days)
        text = None if withdrawn else f"The City plan costs {60 + number} euros a month."
        return Document(doc_id="plans", version=f"{number}", updated_at=moment, text=text, withdrawn=withdrawn)

    def finding(number: int, **given: Any) -> Any:
        context = Context(text="The City plan costs 62 euros a month.", doc_id="plans", **given)
        answer = "The City plan costs 62 euros a month [1]."
        return mined(engine, make(number, occurred_at=asked_at, contexts=(context,), response=answer))

    dated = {"updated_at": asked_at - timedelta(days=20)}
    assert finding(1, version="2").failure is F.none
    feed(engine, version(2, -20), version(3, -10), version(4, 10))
    again = mine(engine, SETTINGS, HOUSE)
    assert again.mined == 1, "records that retrieved a changed document are due"
    stale = load_finding(engine, make(1).record_id)
    assert stale.failure is F.stale_context and "2026-10-23" in stale.why
    assert any("version 2" in item.note for item in stale.evidence)
    assert finding(2, **dated).failure is F.stale_context
    assert finding(3, version="3").failure is F.none, "version 4 came later"
    feed(engine, version(5, -5, withdrawn=True))
    gone = finding(4)
    assert gone.failure is F.stale_context and "had been withdrawn on 2026-10-28" in gone.why


def test_an_outdated_context_does_not_hide_what_the_corpus_holds(engine: Engine, make: Any) -> None:
    record = make(1, query="how many kilometres does the battery of the cargo bike last", response=UNSURE)
    old = Context(text=BATTERY.replace("60 kilometres", "days"), doc_id="plans", version="1")
    asked = record.model_copy(update={"contexts": (Context(text="Plans.", doc_id="plans", version="1"),)})
    day = datetime(2026, 3, 1, tzinfo=UTC)
    plans = [Document(doc_id="plans", version=f"{n}", updated_at=day + timedelta(n), text="Plans.") for n in (1, 2)]
    feed(engine, *corpus(), *plans)
    assert mined(engine, asked).secondary == (F.knowledge_gap,)
    feed(engine, Document(doc_id="battery", updated_at=day, text=BATTERY))
    finding = mined(engine, asked)
    assert (finding.failure, finding.secondary) == (F.stale_context, (F.retrieval_miss,))
    assert "outdated version" in finding.why, "the sentence is about the primary failure"
    feed(engine, Document(doc_id="battery", withdrawn=True, updated_at=day + timedelta(1)))
    feed(engine, Document(doc_id="plans", version="3", updated_at=day + timedelta(3), text=BATTERY))
    same = mined(engine, asked.model_copy(update={"contexts": (*asked.contexts, old)}))
    assert F.retrieval_miss not in same.secondary, "the newer version of what was retrieved holds it"


@given(st.lists(st.sampled_from(["Short one.", "A much longer sentence about bikes and plans. ", "\n", "word " * 90])))
@settings(max_examples=50, deadline=None)
def test_passages_hold_every_word_once(parts: Sequence[str]) -> None:
    text = " ".join(parts)
    places = list(pieces(text))
    assert all(one[1] <= other[0] for one, other in pairwise(places))
    held = [word.norm for start, end in places for word in content_words(text[start:end])]
    assert held == [word.norm for word in content_words(text)]
    assert all(end - start <= PASSAGE or len(sentences(text[start:end])) == 1 for start, end in places)
