"""Scores, labels and comments of any tool as feedback: who said it decides what it counts."""

import re
from datetime import datetime
from typing import Any

from logs_schema.importers.fields import text_of
from logs_schema.records import Feedback, FeedbackKind

GOOD = {"thumbs_up", "thumbsup", "up", "positive", "good", "like", "👍", "correct", "pass"}
BAD = {"thumbs_down", "thumbsdown", "down", "negative", "bad", "dislike", "👎", "incorrect", "fail"}
UP = GOOD | {"+1", "1", "1.0", "true", "yes"}
DOWN = BAD | {"-1", "-1.0", "0", "0.0", "false", "no"}
"""What else a field that can only be a thumb may hold."""
FAULTS = ("hallucinat", "toxic", "harm", "bias", "error", "refus")
"""Words in a name of which more is worse: which way such a score counts is not known."""
VOTES = (
    "thumb",
    "vote",
    "user_feedback",
    "user-feedback",
    "user_score",
    "user-score",
    "rating",
    "like",
    "user feedback",
)
"""Words in a name that mean the user's own vote."""
CORRECTIONS = {"correction", "corrected_answer", "ideal_answer", "expected_answer"}
"""Names under which a person's own answer comes."""


def feedback_event(
    identifier: str,
    name: str,
    *,
    label: Any = None,
    score: Any = None,
    comment: Any = None,
    correction: str | None = None,
    by: str | None = None,
    occurred_at: datetime | None = None,
    person: bool | None = True,
) -> Feedback:
    """One event.

    Args:
        identifier: identifies it within its trace.
        name: what is scored, such as `user_feedback`.
        label: a word such as `thumbs_down`.
        score: 0 to 1 (or -1 to 0); other scales are not known, and give no value.
        comment: what was said besides.
        correction: the answer that a person says should have been given.
        by: who said it.
        occurred_at: when.
        person: whether a person said it; None when nobody knows, which counts as implicit unless it is called a vote.
    """
    word = text_of(label)
    called_a_vote = any(part in name.lower() for part in VOTES)
    if correction:
        kind = FeedbackKind.correction
    elif called_a_vote or (person and _plain(word) in GOOD | BAD):
        kind = FeedbackKind.vote
    else:
        kind = FeedbackKind.annotation if person else FeedbackKind.implicit
    return Feedback(
        identifier=identifier,
        kind=kind,
        value=None if correction or any(part in name.lower() for part in FAULTS) else value_of(word, score),
        label=None if correction else word or name,
        comment=text_of(comment),
        correction=correction,
        by=by,
        occurred_at=occurred_at,
    )


def value_of(label: str | None, score: Any) -> float | None:
    """-1 to 1 from a thumb, else from true or false, else from a score of 0 to 1; other scales are not known."""
    word = _plain(label)
    if word in GOOD | BAD:
        return 1.0 if word in GOOD else -1.0
    if isinstance(score, bool):
        return 1.0 if score else -1.0
    if not isinstance(score, int | float):
        return None
    return 2.0 * score - 1.0 if 0 <= score <= 1 else float(score) if -1 <= score < 0 else None


def thumb_of(value: Any) -> float:
    """1 for a thumb up, -1 for a thumb down, however it is written.

    Raises:
        ValueError: it is neither.
    """
    word = _plain(str(value))
    if word not in UP | DOWN:
        raise ValueError("thumbs is neither up nor down")
    return 1.0 if word in UP else -1.0


def _plain(word: str | None) -> str:
    return re.sub(r"(?<=\w)[ -]", "_", (word or "").strip().lower())
