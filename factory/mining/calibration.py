"""Whether a probability means what it says: reliability table, expected calibration error, Brier score."""

from collections.abc import Iterator, Sequence

import numpy as np

from factory.mining.intervals import share, told
from logs_schema.records import Value
from training.metrics import Array, Bootstrap, Figure

BINS = 10
RESAMPLES = 1000


class Bin(Value):
    """Cases of like probability."""

    low: float
    high: float
    mean: float
    """Mean probability."""
    confirmed: Figure
    """Share that people confirmed; Wilson's 95 % interval."""


class Calibration(Value):
    """How probabilities compare with what people confirmed; with 95 % intervals."""

    n: int
    bins: tuple[Bin, ...]
    """Those that are not empty."""
    error: Figure
    """Expected calibration error: mean distance of probability and confirmed share over bins, by their size."""
    brier: Figure
    """Mean squared distance of the probability from what was confirmed (1) or not (0); 0 is perfect."""
    skill: Figure
    """1 - brier / (brier of always saying the base rate): above 0 the probability tells something; no value when all
    or none were confirmed."""

    def lines(self) -> Iterator[str]:
        """The table."""
        if not self.n:
            yield "Calibration of the confidence: no reviewed findings."
            return
        skill = "not defined" if self.skill.value is None else told(self.skill)
        yield f"Calibration of the confidence on {self.n} reviewed findings (0 is perfect; of the skill 1 is):"
        yield f"  expected calibration error  {told(self.error)}"
        yield f"  Brier score                 {told(self.brier)}"
        yield f"  skill over the base rate    {skill}"
        for one in self.bins:
            yield f"  said {one.low:.1f}-{one.high:.1f}, mean {one.mean:.2f}   confirmed {told(one.confirmed)}"


def calibration(cases: Sequence[tuple[float, bool]], groups: Sequence[str] = ()) -> Calibration:
    """Compare probabilities with what was confirmed.

    Args:
        cases: (probability 0 to 1, confirmed).
        groups: Of each case, for the bootstrap: cases of one group come and go together. Every case by itself when
            empty.
    """
    n = len(cases)
    if not n:
        return Calibration(n=0, bins=(), error=Figure(value=None), brier=Figure(value=None), skill=Figure(value=None))
    said, held = np.array([case[0] for case in cases]), np.array([float(case[1]) for case in cases])
    bin_of = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = np.zeros((n, BINS))
    gaps[np.arange(n), bin_of] = said - held
    names = list(groups) or [str(number) for number in range(n)]
    bootstrap = Bootstrap(names, resamples=RESAMPLES, confidence=0.95, seed=17)
    counts = np.column_stack([np.ones(n), held, (said - held) ** 2, gaps])
    total, resampled = bootstrap.sums(counts)

    def brier(sums: Array) -> Array:
        return sums[..., 2] / sums[..., 0]

    def skill(sums: Array) -> Array:
        base = sums[..., 1] / sums[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - brier(sums) / np.where((base > 0) & (base < 1), base * (1 - base), np.nan)

    def error(sums: Array) -> Array:
        found: Array = np.abs(sums[..., 3:]).sum(axis=-1) / sums[..., 0]
        return found

    value = float(error(total))
    # a resample adds an error of its own, as the sample did: so the interval is the basic one, mirrored at the value
    gap = bootstrap.figure(value, np.clip(2 * value - error(resampled), 0, 1), n)
    if gap.high is not None:
        gap = gap.model_copy(update={"high": max(gap.high, value)})
    bins = []
    for at in sorted(set(bin_of.tolist())):
        inside = bin_of == at
        confirmed = share(held[inside].sum(), inside.sum())
        bins.append(Bin(low=at / BINS, high=(at + 1) / BINS, mean=said[inside].mean(), confirmed=confirmed))
    return Calibration(
        n=n,
        bins=tuple(bins),
        error=gap,
        brier=bootstrap.figure(float(brier(total)), brier(resampled), n),
        skill=bootstrap.figure(float(skill(total)), skill(resampled), n),
    )
