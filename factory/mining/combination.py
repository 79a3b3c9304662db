"""A fitted combination of measures: a weighted sum, turned into a probability. Kept as JSON, never as a pickle."""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from logs_schema.records import Value

FITTED = Path(__file__).parent / "fitted"
Judged = Literal["faithfulness", "sufficiency"]


class Combination(Value):
    """Logistic regression over named measures, then a straight line on its logit (Platt's calibration)."""

    weights: dict[str, float]
    """Measure → weight of its value."""
    intercept: float
    slope: float = 1.0
    offset: float = 0.0
    """Calibrated logit = slope x logit + offset."""

    @model_validator(mode="after")
    def _is_monotone(self) -> "Combination":
        if not (self.slope > 0 and all(math.isfinite(weight) for weight in self.weights.values())):
            raise ValueError("slope must be above 0 and every weight finite")
        return self

    def logit(self, measured: Mapping[str, float]) -> float:
        """Before calibration.

        Raises:
            KeyError: a measure is missing.
        """
        return self.intercept + sum(weight * measured[name] for name, weight in self.weights.items())

    def probability(self, measured: Mapping[str, float]) -> float:
        """Calibrated, 0 to 1, to four digits: what is behind them depends on the machine."""
        return round(sigmoid(self.slope * self.logit(measured) + self.offset), 4)


class Fit(Value):
    """A combination for each judgement; of `semantic` only that of sufficiency is used."""

    faithfulness: Combination
    sufficiency: Combination


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


@cache
def shipped(name: str) -> Fit:
    """A fit of the package: `lexical`, or `semantic` (with sentence embeddings)."""
    return Fit.model_validate_json((FITTED / f"{name}.json").read_text(encoding="utf-8"))
