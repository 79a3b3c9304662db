from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.mining.corpus import Searched
from factory.mining.diagnose import diagnose
from factory.mining.finding import Finding
from factory.mining.lexical import lexical_scorer
from factory.mining.settings import MiningSettings
from logs_schema.documents import Version
from logs_schema.records import Context, Feedback, FeedbackKind
from logs_schema.scores import Scores
from logs_schema.settings import HouseSettings
from logs_schema.taxonomy import PRECEDENCE, ROUTES, Failure, Route

HOUSE = HouseSettings()
SETTINGS = MiningSettings()
F = Failure


def judged(make: Any, settings: MiningSettings = SETTINGS, versions: Any = None, **given: Any) -> Finding:
    record = make(**given)
    scores = lexical_scorer(HOUSE)([record])[0]
    return diagnose(record, scores, settings=settings, house=HOUSE, versions=versions or {})


def vote(value: float) -> Feedback:
    return Feedback(identifier="v", kind=FeedbackKind.vote, value=value)


def correction(text: str) -> Feedback:
    return Feedback(identifier="c", kind=FeedbackKind.correction, correction=text)


WATERLOO = "who won the battle of waterloo"


@pytest.mark.parametrize(
    ("given", "failure", "secondary", "words"),
    [
        ({}, F.none, (), "support the response"),
        (
            {"response": "Riders pay 19 dollars to the Zurich office [1]."},
            F.unfaithful,
            (F.bad_citation,),
            '[1] answers this ("The City plan costs 72 euros a month for the everyday step-through bike."), but the '
            'response says "Riders pay 19 dollars to the Zurich office [1]."',
        ),
        ({"response": "I don't know based on the provided context."}, F.over_refusal, (), "says that it does not know"),
        (
            {"response": "Pedalport offers three monthly plans [1]."},
            F.incomplete,
            (),
            "leaves out what it says (costs, 72, euros, everyday, step)",
        ),
        (
            {"query": "does the cargo plan have a trial", "response": "The Cargo plan hasn't any trial [2]."},
            F.none,
            (),
            "",
        ),
        ({"response": "The City plan costs 72 euros a month."}, F.bad_citation, (), "cites none of the retrieved"),
        (
            {"response": "The City plan costs 72 euros a month [7]."},
            F.bad_citation,
            (),
            "only 2 passages were retrieved",
        ),
        (
            {"response": "The City plan costs 72 euros a month [2]."},
            F.bad_citation,
            (),
            "does not support what it is cited for",
        ),
        (
            {"query": WATERLOO, "response": "Wellington won it in 1815."},
            F.missing_abstention,
            (F.insufficient_context,),
            "nothing on battle, waterloo",
        ),
        ({"query": WATERLOO, "response": "I don't know."}, F.insufficient_context, (), "rightly"),
        (
            {"query": WATERLOO, "response": "The context does not say. Wellington won it at Waterloo in 1815."},
            F.missing_abstention,
            (F.insufficient_context,),
            "Wellington won it",
        ),
        (
            {"contexts": (), "response": "It costs 99 euros."},
            F.missing_abstention,
            (F.insufficient_context,),
            "Nothing was retrieved",
        ),
        ({"contexts": (), "query": "Thank you!", "response": "You are welcome."}, F.none, (), "Nothing was asked"),
        ({"truncated": True, "response": "I don't know."}, F.over_refusal, (F.truncated_context,), "does not know"),
        ({"query": WATERLOO, "truncated": True, "response": "I don't know."}, F.truncated_context, (), "window"),
        ({"response": ""}, F.none, (), "empty"),
        ({"response": " \n"}, F.none, (), "empty"),
        ({"error": "timeout"}, F.none, (), '"timeout"'),
        ({"contexts": (Context(text="", doc_id="plans"),)}, F.none, (), "no text"),
    ],
)
def test_each_failure(
    make: Any, given: dict[str, Any], failure: Failure, secondary: tuple[Failure, ...], words: str
) -> None:
    finding = judged(make, **given)
    assert (finding.failure, finding.secondary) == (failure, secondary)
    assert finding.route is (ROUTES[failure] if failure is not F.none else Route.no_action)
    assert words in finding.why
    assert (finding.confidence > 0) is (failure is not F.none)


def test_a_number_in_words_is_the_same_number(make: Any) -> None:
    trial = Context(text="The trial of the City plan covers three rides and ends after thirty days.", doc_id="trial")
    asked = {"query": "how many rides does the trial of the city plan cover", "contexts": (trial,)}
    assert judged(make, **asked, response="The trial of the City plan covers 3 rides [1].").failure is F.none
    finding = judged(make, **asked, response="In Zurich every rider gets forty-five rides [1].")
    assert finding.failure is F.unfaithful and "forty-five" in finding.why
    held = next(one for one in finding.evidence if one.kind == "unsupported")
    assert "forty-five" in (held.note or "")


def test_a_format_that_is_broken(make: Any) -> None:
    finding = judged(make, MiningSettings(format_regex=r"^Answer: "))
    assert finding.failure is F.bad_format and "`format_regex`" in finding.why
    assert judged(make, MiningSettings(format_regex=r"euros.*\[1\]")).failure is F.none
    with pytest.raises(ValueError, match="format_regex"):
        MiningSettings(format_regex="(")


def test_citations_are_asked_for_only_where_the_house_wants_them(make: Any) -> None:
    uncited = "The City plan costs 72 euros a month."
    assert judged(make, MiningSettings(citations=False), response=uncited).failure is F.none


def dated(day: int) -> Context:
    return Context(
        text="The City plan costs 67 euros a month.", doc_id="plans", updated_at=datetime(2026, 2, day, tzinfo=UTC)
    )


def test_a_newer_version_counts_only_when_it_was_there(make: Any) -> None:
    given = {"contexts": (dated(3),), "response": "The City plan costs 67 euros a month [1]."}
    before = judged(make, versions={"plans": (Version(datetime(2026, 6, 15, tzinfo=UTC), "2"),)}, **given)
    assert (before.failure, before.route) == (F.stale_context, Route.retrieval)
    assert "2026-06-15" in before.why and before.confidence == 0.9
    later = judged(make, versions={"plans": (Version(datetime(2026, 12, 1, tzinfo=UTC), "2"),)}, **given)
    assert later.failure is F.none
    assert (
        judged(make, versions={"plans": (Version(datetime(2026, 2, 3, tzinfo=UTC), "1"),)}, **given).failure is F.none
    )


def test_a_stale_context_is_the_cause_of_an_answer_without_support(make: Any) -> None:
    versions = {"plans": (Version(datetime(2026, 6, 15, tzinfo=UTC), "2"),)}
    finding = judged(make, versions=versions, contexts=(dated(3),), query=WATERLOO, response="Wellington won it.")
    assert (finding.failure, finding.secondary) == (F.missing_abstention, (F.stale_context,))


def test_votes_move_confidence_and_no_clear_verdict(make: Any) -> None:
    given = {"response": "Riders pay 19 dollars to the Zurich office [1]."}
    up, none, down = (judged(make, feedback=feedback, **given) for feedback in ((vote(1),), (), (vote(-1),)))
    assert up.failure is none.failure is down.failure is F.unfaithful
    assert up.confidence < none.confidence < down.confidence
    assert judged(make, feedback=(vote(-1),)).failure is F.none


def scored(make: Any, events: tuple[Feedback, ...], settings: MiningSettings = SETTINGS, **given: Any) -> Finding:
    scores = Scores(**{"faithfulness": 0.9, "sufficiency": 0.9, "completeness": 0.9, "citations": (1,), **given})
    return diagnose(make(feedback=events), scores, settings=settings, house=HOUSE, versions={})


@pytest.mark.parametrize(
    ("given", "failure", "words"),
    [
        ({"faithfulness": 0.6}, F.unfaithful, "only in part"),
        ({"sufficiency": 0.6}, F.missing_abstention, "doubtful whether a passage answers this"),
        ({"completeness": 0.3}, F.incomplete, "leaves out"),
        ({"faithfulness": 0.66}, F.none, ""),
        ({"sufficiency": 0.66}, F.none, ""),
        ({"completeness": 0.36}, F.none, ""),
    ],
)
def test_a_complaint_sends_doubtful_answers_to_review(make: Any, given: Any, failure: F, words: str) -> None:
    complained = scored(make, (vote(-1),), **given)
    assert (complained.failure, scored(make, (), **given).failure) == (failure, F.none)
    assert words in complained.why and "a user voted it down" in complained.why
    assert complained.confidence <= 0.6, "it is a hint"
    for event in (vote(1), Feedback(identifier="s", kind=FeedbackKind.implicit, value=-0.6)):
        assert scored(make, (event,), **given).failure is F.none
    assert scored(make, (vote(-1),), MiningSettings(unsettled=0), **given).failure is F.none


def test_a_complaint_alone_is_no_knowledge_gap(make: Any) -> None:
    scores = Scores(faithfulness=0.9, sufficiency=0.6, completeness=0.9, citations=(1,))
    nothing = Searched(documents=9, logged=0, hit=None)
    finding = diagnose(
        make(feedback=(vote(-1),)), scores, settings=SETTINGS, house=HOUSE, versions={}, search=lambda *_: nothing
    )
    assert (finding.failure, finding.secondary) == (F.missing_abstention, (F.insufficient_context,))


def test_a_threshold_of_nothing_flags_nothing_for_a_complaint_either(make: Any) -> None:
    off = MiningSettings(faithful=0, sufficient=0, incomplete=0)
    low = {"faithfulness": 0.05, "sufficiency": 0.05, "completeness": 0.05}
    assert scored(make, (vote(-1),), off, **low).failure is F.none


def test_a_complaint_does_not_dispute_a_refusal(make: Any) -> None:
    told = make(response="I don't know.", feedback=(vote(-1),))
    scores = Scores(sufficiency=0.55, abstained=True, completeness=0.0)
    assert diagnose(told, scores, settings=SETTINGS, house=HOUSE, versions={}).failure is F.over_refusal
    scores = Scores(sufficiency=0.45, abstained=True, completeness=0.0)
    assert diagnose(told, scores, settings=SETTINGS, house=HOUSE, versions={}).failure is F.insufficient_context


@pytest.mark.parametrize(
    ("response", "text", "failure"),
    [
        ("I don't know.", "The City plan costs 72 euros a month.", F.over_refusal),
        ("Riders pay 19 dollars in Zurich [1].", "The City plan costs 72 euros a month.", F.unfaithful),
        ("The trial lasts 14 days [2].", "The City plan costs 72 euros a month.", F.unfaithful),
        (
            "The City plan is monthly [1].",
            "The City plan costs 72 euros a month for the step-through bike.",
            F.incomplete,
        ),
        ("It costs 72 euros [1].", "I don't know.", F.missing_abstention),
        ("It costs 72 euros [1].", "Ask Miriam in the Oslo branch office.", F.missing_abstention),
    ],
)
def test_a_correction_is_checked_against_the_passages(make: Any, response: str, text: str, failure: Failure) -> None:
    finding = judged(make, response=response, feedback=(correction(text),))
    assert finding.failure is failure
    assert finding.confidence >= 0.7 and "person" in finding.why
    assert any(item.kind == "correction" for item in finding.evidence)


def test_a_correction_that_repeats_the_response_is_praise(make: Any) -> None:
    finding = judged(make, feedback=(correction("The City plan costs 72 euros a month"),))
    assert finding.failure is F.none


def test_evidence_names_places_in_the_texts(make: Any) -> None:
    finding = judged(make, response="Hello. Riders pay 19 dollars to the Zurich office [1].")
    record = make(response="Hello. Riders pay 19 dollars to the Zurich office [1].")
    by_kind = {item.kind: item for item in reversed(finding.evidence)}
    place = by_kind["unsupported"].spans[0]
    assert record.response[place.start : place.end] == "Riders pay 19 dollars to the Zurich office [1]."
    held = by_kind["holds_answer"].spans[0]
    assert held.where == "context:0"
    assert record.contexts[0].text[held.start : held.end].startswith("The City plan costs 72")


SHARE = st.none() | st.floats(0, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scores=st.builds(
        Scores,
        faithfulness=SHARE,
        sufficiency=SHARE,
        abstained=st.booleans(),
        citations=st.lists(st.integers(0, 9), max_size=3).map(tuple),
        citation_validity=SHARE,
        query_coverage=SHARE,
        completeness=SHARE,
    ),
    response=st.sampled_from(
        ["I don't know.", "It costs 72 euros.", "Moon [9]", "", "[1]", "I don't know. Moon is cheese."]
    ),
    value=st.none() | st.floats(-1, 1),
    text=st.none() | st.sampled_from(["I don't know.", "It costs 72 euros.", "Cheese."]),
    truncated=st.none() | st.booleans(),
    faithful=st.sampled_from([0.0, 0.5, 1.0]),
    sufficient=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_finding_keeps_the_rules(
    make: Any, scores: Scores, response: str, value: Any, text: Any, truncated: Any, faithful: float, sufficient: float
) -> None:
    feedback = (Feedback(identifier="f", kind=FeedbackKind.correction, value=value, correction=text),)
    record = make(response=response, feedback=feedback, truncated=truncated)
    limits = MiningSettings(faithful=faithful, sufficient=sufficient)
    finding = diagnose(record, scores, settings=limits, house=HOUSE, versions={})
    named = [failure for failure in (finding.failure, *finding.secondary) if failure is not F.none]
    assert named == [failure for failure in PRECEDENCE if failure in named]
    assert (finding.failure is F.none) is (finding.route is Route.no_action) is (not named)
    assert finding.why.endswith(".") and "\n" not in finding.why
    assert finding == diagnose(record, scores, settings=limits, house=HOUSE, versions={})
