"""Whether there is enough to build a dataset that can be trained on and measured with."""

from collections.abc import Mapping, Sequence

from factory.dataset.candidates import Candidate
from logs_schema.errors import NotReadyError
from logs_schema.taxonomy import ExampleKind, Split

Sides = Mapping[Split, Sequence[Candidate]]
LeftOut = Mapping[str, Sequence[str]]
"""Reason → record ids."""


def refuse_unready(training_rows: int, min_rows: int, sides: Sides, left_out: LeftOut) -> None:
    """Refuse too few training rows, and a test side that cannot show both answering and abstaining.

    Raises:
        NotReadyError: with everything that is missing, what there is, and what to do.
    """
    answers, abstentions = _kinds(sides[Split.test])
    missing = []
    if training_rows < min_rows:
        missing.append(f"{training_rows} training rows are ready, [dataset] min_rows asks for {min_rows}")
    if not answers:
        missing.append("the test side has no answerable row, so it cannot show whether an adapter refuses too much")
    if not abstentions:
        missing.append("the test side has no unanswerable row, so it cannot show whether an adapter abstains")
    if not missing:
        return
    ready = ", ".join("{} {} answers and {} abstentions".format(side.value, *_kinds(sides[side])) for side in Split)
    held = "; ".join(f"{len(ids)} {reason}" for reason, ids in sorted(left_out.items()) if ids)
    remedy = "Have more records reviewed: `factory label push`, then `factory label pull`."
    if not (answers and abstentions):
        remedy += " Audit records always go to the test side; [dataset] test_share sets how much of the rest does."
    raise NotReadyError(
        f"There is not enough for a dataset: {'; '.join(missing)}. Rows so far: {ready}. "
        f"Left out: {held or 'nothing'}. {remedy}"
    )


def _kinds(candidates: Sequence[Candidate]) -> tuple[int, int]:
    answers = sum(candidate.kind is ExampleKind.answer for candidate in candidates)
    return answers, len(candidates) - answers
