"""`factory mine calibrate`: the team's own reviews decide how measures become probabilities."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Engine, Table, insert, select

from factory.mining.answers import of_the_whole
from factory.mining.calibration import RESAMPLES, Calibration, calibration
from factory.mining.claims import whole
from factory.mining.combination import Combination, Fit, Judged, shipped
from factory.mining.encoder import sentence_encoder
from factory.mining.fitting import Measured, fit_combination, fit_line, folds
from factory.mining.intervals import told
from factory.mining.lexical import read
from factory.mining.semantic import similarities
from factory.mining.settings import MiningSettings
from factory.mining.vectors import kept_vectors
from factory.mining.verdicts import Verdict, reviewed
from logs_schema.database import writing
from logs_schema.errors import NotReadyError
from logs_schema.records import Value
from logs_schema.settings import HouseSettings
from logs_schema.tables import CalibrationRow, now
from training.metrics import Bootstrap, Figure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH = 40
"""Audit records that must be reviewed …"""
EACH = 8
"""… with at least so many of each kind: with fewer a line through them is noise."""
REFIT = 150
"""Reviewed records, of any kind, from which on the weights are fitted anew, too."""
JUDGES: dict[str, tuple[Judged, ...]] = {"lexical": ("faithfulness", "sufficiency"), "semantic": ("sufficiency",)}
"""Fit of the package → what the stage that uses it measures."""
TRUE: dict[Judged, str] = {"faithfulness": "supported", "sufficiency": "to hold the answer"}
CALIBRATION: Table = CalibrationRow.__table__  # type: ignore[attr-defined]


class Judgement(Value):
    """What the reviews say of one kind of score."""

    kept: str
    """`as it was`, `calibrated` (a line on the logit) or `refitted` (weights too, then a line)."""
    audited: int
    """Audit records that decide."""
    reviewed: int
    """All reviewed records, which teach the weights."""
    share: Figure
    """Of the audit records, how many were supported (or sufficient)."""
    before: Figure
    """Mean log loss of the scores in force on the audit records (lower is better; 0.693 is a coin)."""
    after: Figure
    """The same of what is kept now, cross-validated."""
    gain: Figure
    """By how much the log loss falls. All intervals are of 95 %, by questions."""
    calibration: Calibration
    """Of what is kept."""


class FitReport(Value):
    """What the reviews say of one fit, and what was kept."""

    name: str
    """Which of the package's fits was looked at."""
    faithfulness: Judgement | None = None
    """None: too few reviews, or not what this fit judges."""
    sufficiency: Judgement | None = None
    changed: bool = False

    def text(self) -> str:
        """A line a judgement."""
        lines = []
        for name in JUDGES[self.name]:
            found: Judgement | None = getattr(self, name)
            if found is None:
                lines.append(f"{name}: left as it was, too few audit records are reviewed ({NEEDED}).")
                continue
            lines.append(
                f"{name}: {found.kept}. Of the audit records people found {told(found.share)} {TRUE[name]}; "
                f"{found.reviewed} reviews in all."
            )
            if found.kept == "as it was":
                lines.append(f"  log loss {told(found.before)}: nothing else was clearly better.")
            else:
                lines.append(f"  log loss {told(found.before)}, now {told(found.after)}, cross-validated")
                lines.append(f"  better by {told(found.gain)}")
            skill, error = told(found.calibration.skill), told(found.calibration.error)
            lines.append(f"  Brier skill over always saying that share {skill}, calibration error {error}")
        return "\n".join(lines)


class CalibrationReport(Value):
    """What `factory mine calibrate` found and kept."""

    fits: tuple[FitReport, ...]

    def text(self) -> str:
        """A few lines a fit."""
        lines = ["Brackets: 95 % intervals, by questions. In parentheses: records that the figure was measured on."]
        lines += [line for fit in self.fits for line in ("", f"Fit {fit.name}:", fit.text())]
        changed = any(fit.changed for fit in self.fits)
        lines += ["", "The next `factory mine` judges everything again." if changed else "Nothing changed."]
        return "\n".join(lines)


NEEDED = f"{ENOUGH} are needed, {EACH} of each kind at least"


def fit_names(settings: MiningSettings) -> list[str]:
    """Which of the package's fits the settings use."""
    return [name for name in JUDGES if name == "lexical" or settings.encoder]


def fits_in_force(engine: Engine, settings: MiningSettings) -> dict[str, Fit]:
    """Every fit that the settings use, as it is in force in this store."""
    return {name: fit_in_force(engine, name) for name in fit_names(settings)}


def fit_in_force(engine: Engine, name: str) -> Fit:
    """What the last calibration kept in this store; the package's own fit when there was none."""
    last = select(CALIBRATION.c.fit).where(CALIBRATION.c.name == name).order_by(CALIBRATION.c.id.desc()).limit(1)
    with engine.connect() as connection:
        kept = connection.scalar(last)
    return Fit.model_validate(kept) if kept else shipped(name)


def calibrate(engine: Engine, settings: MiningSettings, house: HouseSettings) -> CalibrationReport:
    """Fit the probabilities that the settings use on the team's reviews, and keep what is better than what is in force.

    The audit slice decides, because the miner did not pick it: each way is judged by five-fold cross-validation on it
    and must beat the scores in force by more than the standard error of the difference. Reviews of the queue teach
    the weights only.

    Args:
        engine: The store.
        settings: Say whether a sentence encoder is used.
        house: The wording of "I don't know".

    Raises:
        NotReadyError: too few audit records are reviewed; says how many more are needed.
        ConfigurationError: the encoder cannot be used.
    """
    verdicts = reviewed(engine, house)
    if not any(_enough(verdicts, judged) for judged in JUDGES["lexical"]):
        audited = [verdict for verdict in verdicts if verdict.audit]
        raise NotReadyError(
            f"Too few reviews to calibrate on: {len(audited)} records of the audit slice are reviewed and say whether "
            f"the answer was supported or answerable; {NEEDED}. Review more of the queue (`factory label push`, then "
            "`factory label pull`)."
        )
    records = [verdict.record for verdict in verdicts]
    readings = [read(record, house) for record in records]
    faithful = [whole(reading.judged) if reading.judged else None for reading in readings]
    sufficient = [of_the_whole(reading.answer.holding) for reading in readings]
    reports = [_fit(engine, "lexical", verdicts, {"faithfulness": faithful, "sufficiency": sufficient})]
    if settings.encoder:
        encode = sentence_encoder(settings.encoder)
        closest = similarities(records, encode, kept_vectors(engine, encode, settings.encoder))
        both = [words | meanings for words, meanings in zip(sufficient, closest, strict=True)]
        reports.append(_fit(engine, "semantic", verdicts, {"sufficiency": both}))
    return CalibrationReport(fits=tuple(reports))


def _fit(
    engine: Engine, name: str, verdicts: Sequence[Verdict], measured: Mapping[Judged, Sequence[Measured | None]]
) -> FitReport:
    """Keep the better of what is in force and what the verdicts say; a record without measures teaches nothing."""
    force, own = fit_in_force(engine, name), shipped(name)
    kept: dict[str, Combination] = {}
    found: dict[str, Judgement] = {}
    for judged, rows in measured.items():
        if _enough(verdicts, judged):
            cases = [
                (row, getattr(verdict, judged), verdict.audit, verdict.record.query)
                for row, verdict in zip(rows, verdicts, strict=True)
                if row and getattr(verdict, judged) is not None
            ]
            kept[judged], found[judged] = _better(cases, getattr(force, judged), getattr(own, judged))
    fit = force.model_copy(update=kept)
    report = FitReport(name=name, changed=fit != force, **found)
    if report.changed:
        row = {"name": name, "fit": fit.model_dump(mode="json"), "report": report.model_dump(mode="json")}
        with writing(engine) as connection:
            connection.execute(insert(CALIBRATION), [{**row, "made_at": now()}])
    return report


def _enough(verdicts: Sequence[Verdict], judged: str) -> bool:
    audit = [verdict for verdict in verdicts if verdict.audit and getattr(verdict, judged) is not None]
    said = [getattr(verdict, judged) for verdict in audit]
    questions = {verdict.record.query for verdict in audit}
    return len(said) >= ENOUGH and EACH <= sum(said) <= len(said) - EACH and len(questions) >= EACH


Make = Callable[[Sequence["Case"]], Combination]
Case = tuple[Measured, bool, bool, str]
"""Measures, what people said, whether it is of the audit slice, and the question, which stays on one side of a fold."""


def _better(cases: Sequence[Case], force: Combination, own: Combination) -> tuple[Combination, Judgement]:
    import numpy as np

    audit = [case for case in cases if case[2]]
    truth = [case[1] for case in audit]
    before = np.array([force.probability(case[0]) for case in audit])
    ways: dict[str, Make] = {"calibrated": lambda some: _line(own, some)}
    if len(cases) >= REFIT:
        ways["refitted"] = lambda some: _line(_refit(some), some)
    best, kept, probabilities = force, "as it was", before
    bootstrap = Bootstrap([case[3] for case in audit], resamples=RESAMPLES, confidence=0.95, seed=17)

    def mean(values: "NDArray[np.float64]") -> Figure:
        total, resampled = bootstrap.sums(np.column_stack([values, np.ones(len(values))]))
        return bootstrap.figure(float(total[0] / total[1]), resampled[:, 0] / resampled[:, 1], len(values))

    for way, make in ways.items():
        made = _cross_validated(cases, audit, make)
        gain = _losses(before, truth) - _losses(made, truth)
        if gain.mean() > gain.std() / math.sqrt(len(gain)) and (
            kept == "as it was" or _losses(made, truth).mean() < _losses(probabilities, truth).mean()
        ):
            best, kept, probabilities = make(cases), way, made
    return best, Judgement(
        kept=kept,
        audited=len(audit),
        reviewed=len(cases),
        share=mean(np.array(truth, float)),
        before=mean(_losses(before, truth)),
        after=mean(_losses(probabilities, truth)),
        gain=mean(_losses(before, truth) - _losses(probabilities, truth)),
        calibration=calibration(list(zip(probabilities.tolist(), truth, strict=True)), [case[3] for case in audit]),
    )


def _line(base: Combination, cases: Sequence[Case]) -> Combination:
    audit = [case for case in cases if case[2]]
    slope, offset = fit_line([base.logit(case[0]) for case in audit], [case[1] for case in audit])
    return base.model_copy(update={"slope": slope, "offset": offset})


def _refit(cases: Sequence[Case]) -> Combination:
    return fit_combination([case[0] for case in cases], [case[1] for case in cases], sorted(cases[0][0]), strength=0.01)


def _cross_validated(cases: Sequence[Case], audit: Sequence[Case], make: Make) -> "NDArray[np.float64]":
    import numpy as np

    fold_of = dict(zip((case[3] for case in audit), folds([case[3] for case in audit]), strict=True))
    fitted = {fold: make([case for case in cases if fold_of.get(case[3]) != fold]) for fold in set(fold_of.values())}
    return np.array([fitted[fold_of[case[3]]].probability(case[0]) for case in audit])


def _losses(probabilities: "NDArray[np.float64]", truth: Sequence[bool]) -> "NDArray[np.float64]":
    import numpy as np

    sure = np.clip(np.where(np.asarray(truth), probabilities, 1 - probabilities), 1e-3, 1)
    losses: NDArray[np.float64] = -np.log(sure)
    return losses
