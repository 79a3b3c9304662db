from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.mining.claims import claims
from factory.mining.lexical import groundedness, lexical_scorer, unsupported_citations
from factory.mining.passage import passages
from logs_schema.records import Context, Message, RagRecord
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings

SCORE = lexical_scorer(HouseSettings())
BAND = "System of a Down is a heavy metal band from Glendale, California, formed in 1994."


def grounded(answer: str, *texts: str) -> float:
    return groundedness([(answer, texts or (BAND,))])[0]


def test_support_falls_with_what_is_made_up() -> None:
    exact = grounded("System of a Down is a heavy metal band formed in 1994.")
    half = grounded("System of a Down is a heavy metal band. It sold twelve million records in Norway.")
    invented = grounded("Paris hosts a chocolate fair every autumn.")
    assert exact > 0.9 > half > invented
    assert invented < 0.1 and half < 0.5


@pytest.mark.parametrize(
    "twisted",
    [
        "System of a Down is a heavy metal band from Glendale, California, formed in 1997.",
        "System of a Down is a heavy metal band from Boston, California, formed in 1994.",
        "System of a Down is not a heavy metal band from Glendale, California, formed in 1994.",
    ],
)
def test_another_figure_name_or_negation_costs_support(twisted: str) -> None:
    assert grounded(twisted) < grounded(BAND) - 0.15


def test_a_negation_counts_only_of_what_the_other_side_affirms() -> None:
    passage = "He was not born in Paris but moved to Berlin as a young painter."
    said = "He moved to Berlin as a young painter."
    assert grounded(said, passage) == grounded(said, passage.replace("not born", "born"))
    assert grounded("He was born in Paris.", passage) < grounded("He was not born in Paris.", passage) - 0.15


def test_tokenised_contexts_and_citation_marks_cost_nothing() -> None:
    tokenised = "System of a Down is a heavy metal band from Glendale , California , formed in 1994 ."
    assert grounded(BAND, tokenised) == grounded(BAND) > 0.9
    assert grounded(BAND.replace("band", "band [1]") + " [2][3]") == grounded(BAND)


@pytest.mark.parametrize(
    ("passage", "answer"),
    [
        ("The trial lasts three days and covers twenty-five rides.", "The trial lasts 3 days and covers 25 rides."),
        ("The plan costs $1,000 for 50% more bikes.", "The plan costs one thousand dollars for 50 percent more bikes."),
        ("The refund takes 1 day.", "The refund takes one day."),
    ],
)
def test_how_a_number_is_written_does_not_matter(passage: str, answer: str) -> None:
    assert grounded(answer, passage) == grounded(passage, passage) > 0.9
    assert grounded(passage, answer) == grounded(answer, answer)


def test_another_number_in_words_costs_support_and_is_named_as_written() -> None:
    answer, passage = "The trial covers thirty-five rides.", "The trial covers twenty-five rides."
    assert grounded(answer, passage) < grounded(passage, passage) - 0.15
    (claim,) = claims(answer, [(passage, "")])
    assert (claim.missing, claim.measures.figures) == (("thirty-five",), 1)
    (claim,) = claims("No one covers one of the rides.", [(passage, "")])
    assert claim.measures.figures == 0


@pytest.mark.parametrize("answer", ["", "   ", "[1]", "Yes.", "..."])
def test_an_answer_without_a_claim_is_not_grounded(answer: str) -> None:
    assert grounded(answer) == 0


@given(
    st.lists(st.sampled_from([BAND, "Helmets are compulsory at 16.", "", "The City plan costs 72 euros."])), st.text()
)
def test_support_is_a_share_and_ignores_the_order_of_contexts(texts: list[str], answer: str) -> None:
    one, other = groundedness([(answer, texts), (answer, texts[::-1])])
    assert 0 <= one <= 1 and one == pytest.approx(other)


TEXTS = st.sampled_from(
    ["", "I don't know.", "It costs 72 euros [1].", "[9]", "Helmets? 東京 [1-3]", BAND, "\x00\n\n1."]
)
ANY_RECORD = st.builds(
    RagRecord,
    source=st.just("desk"),
    source_id=st.just("1"),
    occurred_at=st.just(datetime(2026, 11, 2, tzinfo=UTC)),
    query=st.sampled_from(["who?", "how many members has System of a Down", "the", "東京", "?"]),
    contexts=st.lists(TEXTS.map(lambda text: Context(text=text)), max_size=3).map(tuple),
    response=TEXTS,
    history=st.lists(TEXTS.map(lambda text: Message(role="user", content=text)), max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(ANY_RECORD, max_size=4))
def test_scores_do_not_depend_on_the_batch(records: list[RagRecord]) -> None:
    together = list(SCORE(records))
    assert together == [SCORE([record])[0] for record in records]
    assert together[::-1] == list(SCORE(records[::-1]))
    for scores in together:
        for value in scores.model_dump(exclude={"citations", "stages", "evidence"}).values():
            assert value is None or 0 <= value <= 1


def scores_of(make: Any, **given: Any) -> Scores:
    return SCORE([make(**given)])[0]


def test_sufficiency_tells_topics_apart(make: Any) -> None:
    here = scores_of(make).sufficiency
    near = scores_of(make, query="what colour is the city plan").sufficiency
    elsewhere = scores_of(make, query="who won the battle of waterloo").sufficiency
    assert here is not None and near is not None and elsewhere is not None
    assert here > 0.8 and here > near > elsewhere and elsewhere < 0.2


def test_a_question_for_a_figure_wants_a_figure(make: Any) -> None:
    text = (Context(text="The warranty of the battery is long."),)
    plain = scores_of(make, contexts=text, query="battery warranty long").sufficiency
    asked = scores_of(make, contexts=text, query="how long battery warranty").sufficiency
    assert plain is not None and asked is not None and asked < plain


def test_a_short_follow_up_borrows_from_the_users_turns(make: Any) -> None:
    turns = (
        Message(role="user", content="Is there a free trial for the City plan?"),
        Message(role="assistant", content="x"),
    )
    alone = scores_of(make, query="and for Cargo?").sufficiency
    within = scores_of(make, query="and for Cargo?", history=turns)
    unrelated = scores_of(make, query="and in winter?", history=turns).sufficiency
    assert alone is not None and within.sufficiency is not None and unrelated is not None
    assert within.sufficiency > 0.5 > unrelated


def test_what_cannot_be_measured_is_none(make: Any) -> None:
    ids_only = scores_of(make, contexts=(Context(text="", doc_id="plans"),))
    assert ids_only.sufficiency is None and ids_only.faithfulness is None and ids_only.citation_validity is None
    nothing = scores_of(make, contexts=())
    assert nothing.sufficiency == 0 and nothing.faithfulness is None
    assert scores_of(make, response="I don't know.").faithfulness is None
    assert scores_of(make, response="").abstained is None


def test_a_disclaimer_does_not_exempt_from_grounding(make: Any) -> None:
    scores = scores_of(make, response="The passages do not say. But Napoleon lost at Waterloo in 1815.")
    assert scores.abstained and scores.faithfulness is not None and scores.faithfulness < 0.2


def test_citations_are_checked_against_their_passages(make: Any) -> None:
    good = scores_of(make, response="The City plan costs 72 euros a month [1]. The trial lasts 14 days [2].")
    assert good.citations == (1, 2) and good.citation_validity == 1
    swapped = scores_of(make, response="The City plan costs 72 euros a month [2]. The trial lasts 14 days [1].")
    assert swapped.citation_validity == 0
    beyond = scores_of(make, response="The City plan costs 72 euros a month [1][7].")
    assert beyond.citation_validity == 0.5
    record = make(response="The City plan costs 72 euros a month [1][7].")
    outside, unsupported = unsupported_citations(record.response, passages(record.contexts))
    assert [c.number for c in outside] == [7] and unsupported == []


def test_completeness_is_what_the_best_sentence_adds(make: Any) -> None:
    whole = scores_of(make, response="It costs 72 euros a month for the everyday step-through bike.")
    nothing = scores_of(make, response="The city plan has a price per month.")
    assert whole.completeness == 1 and nothing.completeness is not None and nothing.completeness < 0.2
