"""Shares with their intervals."""

from collections.abc import Sequence
from math import sqrt

from training.metrics import Figure

Z = 1.959964
"""Of a 95 % interval."""


def share(hits: float, total: float, n: int | None = None) -> Figure:
    """A share with its 95 % Wilson interval (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Args:
        hits: How many, or their weight.
        total: Of how many, or the effective number behind the weights.
        n: Records that it was measured on; `total` when None.
    """
    if total <= 0:
        return Figure(value=None, n=n or 0)
    value, spread = min(hits / total, 1.0), Z * Z / total
    middle = (value + spread / 2) / (1 + spread)
    half = Z * sqrt(value * (1 - value) / total + spread / (4 * total)) / (1 + spread)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    return Figure(value=value, low=min(low, value), high=max(high, value), n=int(total) if n is None else n)


def weighted(cases: Sequence[tuple[float, bool]]) -> Figure:
    """The share of weighted cases that hold; the interval is that of the effective number of cases (Kish 1965)."""
    total = sum(weight for weight, _ in cases)
    if not total:
        return Figure(value=None)
    effective = total * total / sum(weight * weight for weight, _ in cases)
    return share(effective * sum(weight for weight, held in cases if held) / total, effective, len(cases))


def told(figure: Figure) -> str:
    """The figure with interval and count; without an interval where it is measured on too few."""
    if figure.value is None:
        return f"- (of {figure.n})"
    if figure.low is None:
        return f"{figure.value:.2f} (of {figure.n}: too few for an interval)"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}] (of {figure.n})"
