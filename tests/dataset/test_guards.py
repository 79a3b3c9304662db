"""Each guard refuses what it must and lets the rest through."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.guards import access, answer, conflict, freshness
from factory.mining.abstention import is_abstention
from factory.mining.lexical import groundedness
from logs_schema.documents import Version
from logs_schema.records import Context, Feedback, FeedbackKind, RagRecord
from logs_schema.taxonomy import Decision
from tests.dataset.world import START, asked, examples, passage

HOUSE = "I don't know based on the provided context."
PASSAGE = "City costs 72 euros a month for the everyday step-through bike."


def _abstains(text: str) -> bool:
    return is_abstention(text, HOUSE)


def _grounded(text: str, contexts: list[str] | None = None, at_least: float = 0.5) -> str | None:
    return answer.grounded_or_abstention(
        text,
        [PASSAGE] if contexts is None else contexts,
        groundedness=groundedness,
        is_abstention=_abstains,
        house=HOUSE,
        at_least=at_least,
    )


@pytest.mark.parametrize(
    "text",
    [
        "The City plan costs 72 euros a month [1].",
        HOUSE,
        "I'm sorry, but I don't know based on the provided context.",
        "I don't know. Please contact support.",
        "The passages do not mention that. Could you tell me which plan you mean?",
    ],
)
def test_grounded_answers_and_plain_abstentions_pass(text: str) -> None:
    assert _grounded(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "I don't know based on the provided context, but the Cargo plan costs 115 euros.",
        "I don't know. The Cargo plan carries dogs and was invented in Denmark.",
        f"{HOUSE} However, it is blue.",
        "I don't know; City costs 72 euros.",
        "I'm not sure, although Paris.",
    ],
)
def test_a_disclaimer_exempts_from_nothing(text: str) -> None:
    assert _grounded(text) == answer.MIXED


def test_what_the_contexts_do_not_say_is_refused() -> None:
    assert _grounded("Paris.") == answer.NOT_GROUNDED
    assert _grounded("The Cargo plan has free insurance against meteorites.") == answer.NOT_GROUNDED
    assert _grounded("The City plan costs 99 euros a month.") == answer.NOT_GROUNDED


@pytest.mark.parametrize("text", ["", "  \n", "[1]"])
def test_an_empty_answer_is_refused(text: str) -> None:
    assert _grounded(text) == answer.EMPTY_ANSWER


@given(st.text(max_size=60), st.floats(0, 1), st.floats(0, 1))
@examples(60)
def test_no_answer_below_the_threshold_passes_unless_it_abstains(text: str, support: float, at_least: float) -> None:
    refusal = answer.grounded_or_abstention(
        text,
        ["any"],
        groundedness=lambda pairs: [support] * len(pairs),
        is_abstention=_abstains,
        house=HOUSE,
        at_least=at_least,
    )
    if refusal is None and support < at_least:
        assert _abstains(text)


@given(st.lists(st.integers(0, 12), max_size=4), st.integers(0, 9))
@examples(60)
def test_citations_are_in_range_or_refused(numbers: list[int], contexts: int) -> None:
    text = "So it is. " + "".join(f"[{number}]" for number in numbers)
    inside = all(1 <= number <= contexts for number in numbers)
    assert (answer.citations_in_range(text, contexts) is None) == inside


def test_contexts_must_be_there_with_their_text() -> None:
    assert answer.contexts_logged(()) == answer.NO_CONTEXTS
    assert answer.contexts_logged((passage(1), Context(text=" ", doc_id="x"))) == answer.EMPTY_CONTEXT
    assert answer.contexts_logged((passage(1),)) is None


def test_groups_are_checked_only_when_configured_and_then_must_be_known() -> None:
    for_staff, for_all, unknown = (
        Context(text="a", groups=groups) for groups in (("staff",), ("staff", "everyone"), None)
    )
    assert access.open_to_all((for_staff, unknown), None) is None
    assert access.open_to_all((for_all,), ("everyone",)) is None
    assert access.open_to_all((for_all, for_staff), ("everyone",)) == access.FORBIDDEN
    assert access.open_to_all((unknown,), ("everyone",)) == access.FORBIDDEN
    assert access.open_to_all((Context(text="a", groups=()),), ("everyone",)) == access.FORBIDDEN


def test_guidelines_must_be_the_current_ones() -> None:
    assert freshness.same_guidelines("1", "1") is None
    assert freshness.same_guidelines("1", "2") == freshness.OTHER_GUIDELINES


def test_feedback_does_not_invalidate_a_review_but_new_content_does() -> None:
    record = asked(1, 1, [1, 2])
    thumb = Feedback(identifier="f", kind=FeedbackKind.vote, value=-1.0)
    voted = record.model_copy(update={"feedback": (thumb,)})
    assert freshness.unchanged(record.exchange_hash, voted) is None
    assert freshness.unchanged(voted.exchange_hash, record) is None
    assert freshness.unchanged(voted.content_hash, voted) is None
    for change in ({"response": "Other."}, {"contexts": (passage(1),)}, {"query": "Else?"}, {"prompt": None}):
        other: RagRecord = record.model_copy(update=change)
        assert freshness.unchanged(record.exchange_hash, other) == freshness.CHANGED


@pytest.mark.parametrize(
    ("context", "latest", "stale"),
    [
        (passage(1), (START, "1"), False),
        (passage(1), (START + timedelta(days=1), "2"), True),
        (passage(1, days=5), (START, "1"), False),
        (Context(text="a", doc_id="doc-candle"), (START, None), False),
        (Context(text="a", doc_id="doc-candle", version="9"), (START, "10"), True),
        (Context(text="a", doc_id="doc-candle", version="10"), (START, "9"), False),
        (Context(text="a", doc_id="doc-candle", version="spring"), (START, "autumn"), True),
        (Context(text="a", doc_id="elsewhere", version="1"), (START, "2"), False),
        (Context(text="a"), (START, "2"), False),
    ],
)
def test_evidence_of_an_older_version_is_stale(
    context: Context, latest: tuple[datetime | None, str | None], stale: bool
) -> None:
    known = {"doc-basket": Version(*latest), "doc-candle": Version(*latest)}
    found = freshness.current_evidence([context], known)
    assert (found == freshness.STALE) == stale


def test_evidence_that_was_withdrawn_is_refused() -> None:
    gone = {"doc-candle": Version(START, None, withdrawn=True)}
    assert freshness.current_evidence([Context(text="a", doc_id="doc-candle")], gone) == freshness.WITHDRAWN
    later = Context(text="a", doc_id="doc-candle", updated_at=START + timedelta(days=1))
    assert freshness.current_evidence([later], gone) is None


def test_reviewers_must_agree() -> None:
    assert conflict.agreed([Decision.answer, Decision.answer]) is None
    assert conflict.agreed([Decision.answer, Decision.not_usable]) == conflict.DISAGREEMENT


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("It costs 72 euros [1].", "The price is 72 euros a month [2].", False),
        ("It costs 72 euros.", "It costs 75 euros.", True),
        ("You can return it.", "You can not return it.", True),
        ("It costs 72 euros.", None, True),
        (None, None, False),
        ("Bring the receipt to any shop.", "Write to the head office in Bern.", True),
    ],
)
def test_answers_to_one_prompt_must_say_the_same(one: str | None, other: str | None, differ: bool) -> None:
    assert (conflict.same_answer([one, other]) == conflict.CONTRADICTION) == differ
