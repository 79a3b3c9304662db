"""Whether a confidence means what it says: reliability table, expected calibration error, Brier score."""

from collections.abc import Iterator, Sequence

from factory.mining.intervals import share, told
from logs_schema.records import Value
from training.metrics import Figure

BINS = 10


class Bin(Value):
    """Findings of like confidence."""

    low: float
    high: float
    mean: float
    """Mean confidence."""
    confirmed: Figure
    """Share that people confirmed."""


class Calibration(Value):
    """How confidences compare with what people confirmed."""

    n: int
    bins: tuple[Bin, ...]
    """Those that are not empty."""
    error: float | None
    """Expected calibration error: mean distance of confidence and confirmed share over bins, by their size."""
    brier: float | None
    """Mean squared distance of the confidence from what was confirmed (1) or not (0); 0 is perfect."""
    skill: float | None
    """1 - brier / (brier of always saying the base rate): above 0 the confidence tells something; None when all or
    none were confirmed."""

    def lines(self) -> Iterator[str]:
        """The table."""
        if self.error is None:
            yield "Calibration of the confidence: no reviewed findings."
            return
        skill = "not defined" if self.skill is None else f"{self.skill:+.2f}"
        yield (
            f"Calibration of the confidence on {self.n} reviewed findings: expected calibration error {self.error:.2f},"
            f" Brier {self.brier:.3f}, skill over the base rate {skill}"
        )
        for one in self.bins:
            yield f"  said {one.low:.1f}-{one.high:.1f}, mean {one.mean:.2f}   confirmed {told(one.confirmed)}"


def calibration(cases: Sequence[tuple[float, bool]]) -> Calibration:
    """Compare (confidence 0 to 1, confirmed) pairs."""
    if not cases:
        return Calibration(n=0, bins=(), error=None, brier=None, skill=None)
    n = len(cases)
    bins, error = [], 0.0
    for at in range(BINS):
        inside = [case for case in cases if min(int(case[0] * BINS), BINS - 1) == at]
        if inside:
            mean = sum(confidence for confidence, _ in inside) / len(inside)
            confirmed = share(sum(held for _, held in inside), len(inside))
            bins.append(Bin(low=at / BINS, high=(at + 1) / BINS, mean=mean, confirmed=confirmed))
            error += len(inside) / n * abs(mean - sum(held for _, held in inside) / len(inside))
    brier = sum((confidence - held) ** 2 for confidence, held in cases) / n
    base = sum(held for _, held in cases) / n
    skill = 1 - brier / (base * (1 - base)) if 0 < base < 1 else None
    return Calibration(n=n, bins=tuple(bins), error=error, brier=brier, skill=skill)
