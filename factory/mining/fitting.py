"""Fitting a combination of measures to labels, with every weight on its known side; and how good it is."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from factory.mining.combination import Combination

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

AGAINST = frozenset({"rarest", "figures", "names", "negation", "unlike"})
"""Measures that speak against; all others speak for."""
FLAT = 1e-6
"""Slope when logits say nothing, or the wrong way round: every probability is then the share."""

Measured = dict[str, float]


def speaks(measure: str) -> int:
    """1 for a measure that may only raise the probability, -1 for one that may only lower it."""
    return -1 if measure.removesuffix("_worst") in AGAINST else 1


def fit_combination(
    rows: Sequence[Measured],
    labels: Sequence[bool],
    measures: Sequence[str],
    *,
    weights: "Array | None" = None,
    strength: float = 0.1,
) -> Combination:
    """Logistic regression on standardised measures; a measure whose weight has the wrong sign is left out.

    They are left out one at a time, the most wrong first, so that what remains is monotone in each.

    Args:
        rows: Measures of each example.
        labels: True for supported, or sufficient.
        measures: Those to use.
        weights: Of the examples; equal when None.
        strength: Inverse strength of the ridge (scikit-learn's C).
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    left = list(measures) if 0 < sum(labels) < len(labels) else []
    while left:
        values = np.array([[row[name] for name in left] for row in rows])
        middle, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
        model = LogisticRegression(C=strength, max_iter=1000)
        model.fit((values - middle) / spread, np.asarray(labels), sample_weight=weights)
        right = model.coef_[0] * [speaks(name) for name in left]
        if right.min() >= 0:
            slopes = model.coef_[0] / spread
            return Combination(
                weights={name: round(float(slope), 6) for name, slope in zip(left, slopes, strict=True)},
                intercept=round(float(model.intercept_[0] - slopes @ middle), 6),
            )
        left.pop(int(right.argmin()))
    return Combination(weights={}, intercept=_log_odds(float(np.average(np.asarray(labels, float), weights=weights))))


def fit_line(logits: Sequence[float], labels: Sequence[bool]) -> tuple[float, float]:
    """Slope (above 0) and offset that turn logits into calibrated ones: Platt's calibration, with a weak ridge."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if 0 < sum(labels) < len(labels):
        model = LogisticRegression(C=10.0, max_iter=1000).fit(np.asarray(logits)[:, None], np.asarray(labels))
        slope = float(model.coef_[0][0])
        if slope > FLAT:
            return round(slope, 6), round(float(model.intercept_[0]), 6)
    return FLAT, _log_odds(float(np.mean(labels)))


def folds(groups: Sequence[Any], count: int = 5) -> "NDArray[np.int64]":
    """Fold of each example, 0 to count - 1; a group stays whole, and the order of the examples does not matter."""
    import hashlib

    import numpy as np

    names = sorted({str(group) for group in groups}, key=lambda name: hashlib.sha256(name.encode()).digest())
    fold_of = {name: rank % count for rank, name in enumerate(names)}
    return np.array([fold_of[str(group)] for group in groups])


def cross_calibrated(logits: Sequence[float], labels: Sequence[bool], groups: Sequence[Any]) -> "Array":
    """Probability of each example by a line fitted on the other folds."""
    import numpy as np

    at, values, truth = folds(groups), np.asarray(logits, float), np.asarray(labels, bool)
    made = np.zeros(len(values))
    for fold in range(5):
        here = at == fold
        if here.any():
            slope, offset = fit_line(values[~here].tolist(), truth[~here].tolist())
            made[here] = 1 / (1 + np.exp(-(slope * values[here] + offset)))
    return made


def auroc(scores: "Array", labels: Sequence[bool]) -> float:
    """Share of pairs of a true and a false example that are in the right order; ties count half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


def cluster_interval(
    scores: "Array", labels: Sequence[bool], groups: Sequence[Any], *, resamples: int = 1000, seed: int = 17
) -> tuple[float, float]:
    """95 % interval of the AUROC by a bootstrap over groups."""
    import numpy as np

    random = np.random.default_rng(seed)
    truth = np.asarray(labels, bool)
    _, number = np.unique([str(group) for group in groups], return_inverse=True)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    found = []
    for _ in range(resamples):
        picked = np.concatenate([members[n] for n in random.integers(0, len(members), len(members))])
        if truth[picked].any() and not truth[picked].all():
            found.append(auroc(scores[picked], truth[picked].tolist()))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _log_odds(share: float) -> float:
    bounded = min(max(share, 0.01), 0.99)
    return round(math.log(bounded / (1 - bounded)), 6)
