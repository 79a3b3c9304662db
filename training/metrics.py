"""Figures over answers, as pure functions of counts, with intervals from a paired bootstrap by leak group.

Every figure is a ratio of sums over rows. So a row is reduced to a vector of counts, a resample of groups
is a vector of multiplicities, and all resamples are one matrix product.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from logs_schema.records import Value

Array = NDArray[np.float64]

MIN_GROUPS = 5
"""Fewer independent groups than this give no interval."""
_MARK = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Figure(Value):
    """One measured figure; None where there is nothing to measure it on."""

    value: float | None
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    n: int = 0
    """Rows that it was measured on."""


# --- one answer -----------------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """Words without citation marks, case, punctuation and articles (SQuAD's normalisation, arXiv:1606.05250)."""
    plain = _MARK.sub(" ", text).lower().translate(_PUNCTUATION)
    return _ARTICLES.sub(" ", plain).split()


def token_f1(answer: str, reference: str) -> float:
    """Overlap of words, 0 to 1; two empty texts agree."""
    left, right = tokens(answer), tokens(reference)
    if not left or not right:
        return float(left == right)
    common = sum((Counter(left) & Counter(right)).values())
    return 2 * common / (len(left) + len(right))


def rouge_l(answer: str, reference: str) -> float:
    """F1 over the longest common subsequence of words, 0 to 1 (Lin 2004); words as in `token_f1`."""
    left, right = tokens(answer), tokens(reference)
    if not left or not right:
        return float(left == right)
    row = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for index, other in enumerate(right, start=1):
            above = row[index]
            row[index] = diagonal + 1 if word == other else max(above, row[index - 1])
            diagonal = above
    return 2 * row[-1] / (len(left) + len(right))


def cited(answer: str) -> set[int]:
    """Indices (from 0) of the passages that an answer cites as [n] or [n, m]."""
    return {int(number) - 1 for marks in _MARK.findall(answer) for number in re.findall(r"\d+", marks)}


# --- one row to counts ----------------------------------------------------------------------------

COUNTS = (
    "answerable",
    "unanswerable",
    "refused_answerable",
    "refused_unanswerable",
    "f1",
    "rouge",
    "cited",
    "cited_right",
    "evidence",
    "with_evidence",
    "grounded",
    "grounded_rows",
)
_AT = {name: index for index, name in enumerate(COUNTS)}


def row_counts(
    answer: str,
    reference: str,
    *,
    answerable: bool,
    refused: bool,
    evidence_ranks: Sequence[int] = (),
    groundedness: float | None = None,
) -> Array:
    """What one answer adds to the sums, in the order of `COUNTS`.

    A refusal scores 0 on an answerable row, whatever words it shares with the reference, and cites nothing.
    Citations count on answerable rows whose evidence is known; groundedness on given answers only.
    """
    counts = np.zeros(len(COUNTS))
    if answerable:
        counts[_AT["answerable"]] = 1
        counts[_AT["refused_answerable"]] = refused
        if not refused:
            counts[_AT["f1"]] = token_f1(answer, reference)
            counts[_AT["rouge"]] = rouge_l(answer, reference)
        if evidence_ranks:
            marks = set() if refused else cited(answer)
            counts[_AT["cited"]] = len(marks)
            counts[_AT["cited_right"]] = len(marks & set(evidence_ranks))
            counts[_AT["evidence"]] = len(set(evidence_ranks))
            counts[_AT["with_evidence"]] = 1
    else:
        counts[_AT["unanswerable"]] = 1
        counts[_AT["refused_unanswerable"]] = refused
    if groundedness is not None and not refused:
        counts[_AT["grounded"]] = groundedness
        counts[_AT["grounded_rows"]] = 1
    return counts


# --- sums to figures ------------------------------------------------------------------------------


def _ratio(above: Array, below: Array) -> Array:
    out = np.full(np.broadcast(above, below).shape, np.nan)
    ratio: Array = np.divide(above, below, out=out, where=below > 0)
    return ratio


def _of(sums: Array, name: str) -> Array:
    picked: Array = sums[..., _AT[name]]
    return picked


def _refusal_precision(sums: Array) -> Array:
    right = _of(sums, "refused_unanswerable")
    return _ratio(right, right + _of(sums, "refused_answerable"))


def _refusal_recall(sums: Array) -> Array:
    return _ratio(_of(sums, "refused_unanswerable"), _of(sums, "unanswerable"))


def _refusal_f1(sums: Array) -> Array:
    right = _of(sums, "refused_unanswerable")
    both = right + _of(sums, "refused_answerable") + _of(sums, "unanswerable")
    return np.where(_of(sums, "unanswerable") > 0, _ratio(2 * right, both), np.nan)


def _answering_f1(sums: Array) -> Array:
    answerable = _of(sums, "answerable")
    right = answerable - _of(sums, "refused_answerable")
    given = right + _of(sums, "unanswerable") - _of(sums, "refused_unanswerable")
    return np.where(answerable > 0, _ratio(2 * right, given + answerable), np.nan)


def _balanced(sums: Array) -> Array:
    return (_refusal_f1(sums) + _answering_f1(sums)) / 2


def _citation_f1(sums: Array) -> Array:
    return _ratio(2 * _of(sums, "cited_right"), _of(sums, "cited") + _of(sums, "evidence"))


FIGURES: Mapping[str, tuple[Callable[[Array], Array], tuple[str, ...]]] = {
    "balanced_abstention": (_balanced, ("answerable", "unanswerable")),
    "refusal_f1": (_refusal_f1, ("answerable", "unanswerable")),
    "refusal_precision": (_refusal_precision, ("answerable", "unanswerable")),
    "refusal_recall": (_refusal_recall, ("unanswerable",)),
    "answering_f1": (_answering_f1, ("answerable", "unanswerable")),
    "false_refusal": (lambda sums: _ratio(_of(sums, "refused_answerable"), _of(sums, "answerable")), ("answerable",)),
    "answer_f1": (lambda sums: _ratio(_of(sums, "f1"), _of(sums, "answerable")), ("answerable",)),
    "rouge_l": (lambda sums: _ratio(_of(sums, "rouge"), _of(sums, "answerable")), ("answerable",)),
    "citation_precision": (lambda sums: _ratio(_of(sums, "cited_right"), _of(sums, "cited")), ("with_evidence",)),
    "citation_recall": (lambda sums: _ratio(_of(sums, "cited_right"), _of(sums, "evidence")), ("with_evidence",)),
    "citation_f1": (_citation_f1, ("with_evidence",)),
    "groundedness": (lambda sums: _ratio(_of(sums, "grounded"), _of(sums, "grounded_rows")), ("grounded_rows",)),
}
"""Name → (figure of the sums, counts that say on how many rows). Balanced abstention is the mean of the F1 of
refusing and the F1 of answering: always refusing (or answering) gets at most a half of it."""


class Bootstrap:
    """Resamples of the leak groups, drawn once, so that all rungs are compared on the same resamples."""

    def __init__(self, groups: Sequence[str], *, resamples: int, confidence: float, seed: int) -> None:
        names = sorted(set(groups))
        place = {name: index for index, name in enumerate(names)}
        self.groups = np.array([place[group] for group in groups], dtype=np.int64)
        self.size = len(names)
        self.confidence = confidence
        generator = np.random.default_rng(seed)
        self.weights: Array = (
            generator.multinomial(self.size, np.full(self.size, 1 / self.size), size=resamples).astype(np.float64)
            if self.size
            else np.zeros((resamples, 0))
        )

    def sums(self, counts: Array) -> tuple[Array, Array]:
        """Sums over all rows, shape (counts,), and over the rows of each resample, shape (resamples, counts)."""
        by_group = np.zeros((self.size, counts.shape[1]))
        np.add.at(by_group, self.groups, counts)
        return counts.sum(axis=0), self.weights @ by_group

    def figure(self, value: float, resampled: Array, n: int) -> Figure:
        """The value with the percentile interval of its resamples.

        No interval is given for fewer than five groups, or when more than one resample in twenty leaves the
        figure undefined.
        """
        if not np.isfinite(value):
            return Figure(value=None, n=n)
        defined = resampled[np.isfinite(resampled)]
        if self.size < MIN_GROUPS or len(defined) < 0.95 * len(resampled):
            return Figure(value=float(value), n=n)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(defined, [tail, 1 - tail])
        return Figure(value=float(value), low=float(low), high=float(high), n=n)

    def figures(self, counts: Array) -> dict[str, Figure]:
        """Every figure of one rung; `counts` has a row of `COUNTS` for each row of the groups."""
        total, resampled = self.sums(counts)
        return {
            name: self.figure(float(of(total)), of(resampled), _rows(total, on)) for name, (of, on) in FIGURES.items()
        }

    def differences(self, challenger: Array, reference: Array) -> dict[str, Figure]:
        """Every figure of the challenger minus that of the reference, paired: on the same resamples."""
        total, resampled = self.sums(challenger)
        other, others = self.sums(reference)
        return {
            name: self.figure(float(of(total) - of(other)), of(resampled) - of(others), _rows(total, on))
            for name, (of, on) in FIGURES.items()
        }


def _rows(total: Array, names: Sequence[str]) -> int:
    return int(sum(total[_AT[name]] for name in names))
