"""A plain contradiction is a fault, however many words a response shares with its passages."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.mining.claims import claims
from factory.mining.contradiction import contradiction
from factory.mining.diagnose import diagnose
from factory.mining.finding import Finding
from factory.mining.lexical import lexical_scorer
from factory.mining.render import render_finding
from factory.mining.settings import MiningSettings
from logs_schema.records import Context, Feedback, FeedbackKind
from logs_schema.scores import Evidence, Span
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import Failure

HOUSE = HouseSettings()
REFUNDS = (
    "Online orders can be returned within 14 days of delivery. Refunds are paid to the original payment method within "
    "14 days after we receive the parcel. Gift cards cannot be refunded. We do not deliver to post boxes."
)


def told(response: str, passage: str = REFUNDS, query: str = "") -> str | None:
    contexts = (Context(text=passage),)
    found = (contradiction(claim, response, query, contexts) for claim in claims(response, [(passage, "")]))
    return next((how for how in found if how), None)


@pytest.mark.parametrize(
    ("response", "passage", "how"),
    [
        ("Refunds take 60 days.", REFUNDS, 'it says "60 days" where [1] says "14 days"'),
        ("Refunds are paid within sixty days [1].", REFUNDS, 'it says "sixty days" where [1] says "14 days"'),
        ("Returns cost $1.5 million.", "Returns cost $2,000.", 'it says "$1.5 million" where [1] says "$2,000"'),
        ("Students get 25% off.", "Students get 15 % off.", 'it says "25%" where [1] says "15 %"'),
        ("The office was opened in 2021.", "Our office was opened in 2019.", 'it says "2021" where [1] says "2019"'),
        ("The shop opens at 10 am.", "The shop opens at 9 am.", 'it says "10 am" where [1] says "9 am"'),
        ("Die Erstattung dauert 30 Tage.", "Eine Erstattung dauert 10 Tage.",
         'it says "30 Tage" where [1] says "10 Tage"'),
        ("Shoes go back within 60 days of delivery.", "Shoes go back within 30 days of delivery. Open until 6:60.",
         'it says "60 days" where [1] says "30 days"'),
        ("Gift cards can be refunded.", REFUNDS, "it affirms what [1] denies"),
        ("Yes, we deliver to post boxes [1].", REFUNDS, "it affirms what [1] denies"),
        ("VAT isn’t included.", "VAT is included.", "it denies what [1] affirms"),
    ],
)  # fmt: skip
def test_contradictions(response: str, passage: str, how: str) -> None:
    assert told(response, passage) == how


@pytest.mark.parametrize(
    ("response", "passage", "query"),
    [
        ("Refunds are paid within fourteen days.", REFUNDS, ""),
        ("Gift cards can't be refunded.", REFUNDS, ""),
        ("It costs 58.80 euros per year.", "It costs 4.90 euros per month.", ""),
        ("Gift cards are excluded from refunds.", REFUNDS, ""),
        ("Orders can be returned within 14 days.", "Orders cannot be returned after 14 days.", ""),
        ("No, VAT is included.", "VAT is included.", "Is VAT extra?"),
        ("Three months cost 216 euros.", "A month costs 72 euros.", "What do 3 months cost?"),
        ("The tower is 381 m tall.", "The tower is 1,250 feet (381 m) tall.", ""),
        ("About 700,000 people live there.", "About 709,037 people live there.", ""),
        ("There are 23 , 768 locations.", "There are 23,768 locations.", ""),
        ("The 2018–19 academic year is over.", "The 2018-2019 academic year is over.", ""),
        ("It was made in the 1980s.", "It was made in 1987.", ""),
        ("The warranty lasts 24 months.", "The warranty lasts 2 years.", ""),
        ("Penguins weigh 60 kilos.", "Penguins swim. A whale eats 900 kilos.", ""),
    ],
)
def test_what_is_none(response: str, passage: str, query: str) -> None:
    assert told(response, passage, query) is None


@given(response=st.text(max_size=80), passage=st.text(max_size=80))
@settings(max_examples=60)
def test_any_texts_can_be_compared(response: str, passage: str) -> None:
    assert told(response, passage) == told(response, passage)


TEXT = st.lists(
    st.sampled_from(
        ["refunds", "take", "14", "60", "1,500", "23 , 768", "$5", "5 %", "euros", "days", "no", "cannot", "in", "2019"]
    ),
    max_size=9,
)


@given(response=TEXT, passage=TEXT)
def test_nothing_contradicts_itself(response: list[str], passage: list[str]) -> None:
    told(" ".join(response), " ".join(passage))
    assert told(" ".join(passage), " ".join(passage)) is None


def judged(make: Any, response: str, value: float | None = None, told: tuple[Evidence, ...] = ()) -> Finding:
    feedback = () if value is None else (Feedback(identifier="v", kind=FeedbackKind.vote, value=value),)
    contexts = (Context(text=REFUNDS, doc_id="returns"),)
    record = make(query="How long does a refund take?", contexts=contexts, response=response, feedback=feedback)
    scores = lexical_scorer(HOUSE)([record])[0].model_copy(update={"evidence": told})
    return diagnose(record, scores, settings=MiningSettings(), house=HOUSE, versions={})


LONG = "Refunds are paid to the original payment method within 60 days after we receive the parcel [1]."


def test_one_wrong_figure_outweighs_many_right_words(make: Any) -> None:
    up, none, down = (judged(make, LONG, value) for value in (1, None, -1))
    assert none.scores.faithfulness is not None and none.scores.faithfulness > 0.5
    assert {up.failure, none.failure, down.failure} == {Failure.unfaithful}
    assert up.confidence < none.confidence < down.confidence
    assert 'which contradicts the passage: it says "60 days" where [1] says "14 days".' in none.why
    record = make(query="How long does a refund take?", contexts=(Context(text=REFUNDS),), response=LONG)
    shown = render_finding(record, none, MiningSettings()).plain
    assert "[faithful = 0.5]; measured by its words, which the reason above outweighs" in shown
    held = next(one for one in none.evidence if one.kind == "unsupported")
    assert [(span.where, span.start, span.end) for span in held.spans] == [
        ("response", 0, len(LONG)),
        ("context:0", REFUNDS.index("Refunds"), REFUNDS.index(" Gift")),
    ]
    assert judged(make, LONG.replace("60", "14")).failure is Failure.none


def test_a_dearer_stage_knows_better(make: Any) -> None:
    whole = Span(where="response", start=0, end=len(LONG))
    said = (Evidence(kind="supported", note="the judge finds the rest supported", spans=(whole,), score=0.95),)
    assert judged(make, LONG, told=said).failure is Failure.none
