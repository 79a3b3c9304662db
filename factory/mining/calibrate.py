"""`factory mine calibrate`: the team's own reviews decide how measures become probabilities."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field
from sqlalchemy import Engine, Table, insert, select

from factory.mining.abstention import read_abstention
from factory.mining.answers import of_the_whole
from factory.mining.claims import whole
from factory.mining.combination import Combination, Fit, shipped
from factory.mining.encoder import Encoder, sentence_encoder
from factory.mining.fitting import Measured, brier_skill, calibration_error, fit_combination, fit_line, folds
from factory.mining.lexical import read
from factory.mining.semantic import similarities
from factory.mining.settings import MiningSettings
from factory.mining.vectors import kept_vectors
from logs_schema.database import writing
from logs_schema.errors import NotReadyError
from logs_schema.records import RagRecord, Value
from logs_schema.settings import HouseSettings
from logs_schema.store import load_records
from logs_schema.tables import CalibrationRow, Review, now
from logs_schema.taxonomy import TICKET, Decision, Failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH = 40
"""Audit records that must be reviewed …"""
EACH = 8
"""… with at least so many of each kind: with fewer a line through them is noise."""
REFIT = 150
"""Reviewed records, of any kind, from which on the weights are fitted anew, too."""
CALIBRATION: Table = CalibrationRow.__table__  # type: ignore[attr-defined]
REVIEW: Table = Review.__table__  # type: ignore[attr-defined]


class Verdict(NamedTuple):
    """What people said of one record."""

    record: RagRecord
    faithfulness: bool | None
    sufficiency: bool | None
    audit: bool


class Judgement(Value):
    """What the reviews say of one kind of score."""

    kept: str
    """`as it was`, `calibrated` (a line on the logit) or `refitted` (weights too, then a line)."""
    audited: int
    """Audit records that decide."""
    reviewed: int
    """All reviewed records, which teach the weights."""
    share: float = Field(ge=0, le=1)
    """Of the audit records, how many were supported (or sufficient)."""
    before: float
    """Mean log loss of the scores in force on the audit records (lower is better; 0.693 is a coin)."""
    after: float
    """The same of what is kept now, cross-validated."""
    brier_skill: float
    """Of what is kept: 1 is perfect, 0 is always saying the share."""
    calibration_error: float
    """Of what is kept: mean distance of probability and share, in ten bins."""


class FitReport(Value):
    """What the reviews say of one fit, and what was kept."""

    name: str
    """Which of the package's fits was looked at."""
    faithfulness: Judgement | None = None
    """None: too few reviews."""
    sufficiency: Judgement | None = None
    changed: bool = False

    def text(self) -> str:
        """A line a judgement."""
        lines = []
        for name, found in (("faithfulness", self.faithfulness), ("sufficiency", self.sufficiency)):
            if found is None:
                lines.append(f"{name}: left as it was, too few audit records are reviewed ({NEEDED}).")
                continue
            better = (
                f"log loss {found.before:.3f} → {found.after:.3f}, cross-validated"
                if found.kept != "as it was"
                else f"log loss {found.before:.3f}: nothing else was clearly better"
            )
            lines.append(
                f"{name}: {found.kept}; {better}, on {found.audited} audit records ({found.share:.0%} true); "
                f"Brier skill {found.brier_skill:.2f}, calibration error {found.calibration_error:.2f}."
            )
        return "\n".join(lines)


class CalibrationReport(Value):
    """What `factory mine calibrate` found and kept."""

    fits: tuple[FitReport, ...]

    def text(self) -> str:
        """A few lines a fit."""
        lines = [line for fit in self.fits for line in (f"Fit {fit.name}:", fit.text())]
        changed = any(fit.changed for fit in self.fits)
        lines.append("The next `factory mine` judges everything again." if changed else "Nothing changed.")
        return "\n".join(lines)


NEEDED = f"{ENOUGH} are needed, {EACH} of each kind at least"


def fit_names(settings: MiningSettings) -> list[str]:
    """Which of the package's fits the settings use."""
    return ["lexical", "semantic"] if settings.encoder else ["lexical"]


def fits_in_force(engine: Engine, settings: MiningSettings) -> dict[str, Fit]:
    """Every fit that the settings use, as it is in force in this store."""
    return {name: fit_in_force(engine, name) for name in fit_names(settings)}


def fit_in_force(engine: Engine, name: str) -> Fit:
    """What the last calibration kept in this store; the package's own fit when there was none."""
    last = select(CALIBRATION.c.fit).where(CALIBRATION.c.name == name).order_by(CALIBRATION.c.id.desc()).limit(1)
    with engine.connect() as connection:
        kept = connection.scalar(last)
    return Fit.model_validate(kept) if kept else shipped(name)


def calibrate_all(engine: Engine, settings: MiningSettings, house: HouseSettings) -> CalibrationReport:
    """`calibrate` every fit that the settings use.

    Raises:
        NotReadyError: too few audit records are reviewed.
        ConfigurationError: the encoder cannot be used.
    """
    name = settings.encoder
    reports = [calibrate(engine, house)]
    if name:
        reports.append(calibrate(engine, house, encode=sentence_encoder(name), encoder=name))
    return CalibrationReport(fits=tuple(reports))


def calibrate(engine: Engine, house: HouseSettings, *, encode: Encoder | None = None, encoder: str = "") -> FitReport:
    """Fit probabilities on the team's reviews, and keep what is better than what is in force.

    The audit slice decides, because the miner did not pick it: each way is judged by five-fold cross-validation on it
    and must beat the scores in force by more than the standard error of the difference. Reviews of the queue teach
    the weights only.

    Args:
        engine: The store.
        house: The wording of "I don't know".
        encode: Sentence encoder, when the miner uses one.
        encoder: Its name.

    Raises:
        NotReadyError: too few audit records are reviewed; says how many more are needed.
    """
    name = "semantic" if encode else "lexical"
    verdicts = reviewed(engine, house)
    if not any(_enough(verdicts, judged) for judged in ("faithfulness", "sufficiency")):
        audited = [verdict for verdict in verdicts if verdict.audit]
        raise NotReadyError(
            f"Too few reviews to calibrate on: {len(audited)} records of the audit slice are reviewed and say whether "
            f"the answer was supported or answerable; {NEEDED}. Review more of the queue (`factory label push`, then "
            "`factory label pull`)."
        )
    faithful, sufficient = _measures(engine, [verdict.record for verdict in verdicts], house, encode, encoder)
    force, own = fit_in_force(engine, name), shipped(name)
    kept: dict[str, Combination] = {}
    found: dict[str, Judgement] = {}
    for judged, rows in (("faithfulness", faithful), ("sufficiency", sufficient)):
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


def reviewed(engine: Engine, house: HouseSettings) -> list[Verdict]:
    """What people said of each reviewed record that is still what they saw; where they disagree, nothing."""
    with engine.connect() as connection:
        rows = connection.execute(select(REVIEW).order_by(REVIEW.c.interaction_id, REVIEW.c.id)).all()
    by_record: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_record[row.interaction_id].append(row)
    records = load_records(engine, list(by_record))
    verdicts = []
    for name, record in records.items():
        said = [row for row in by_record[name] if row.record_hash == record.exchange_hash]
        if not said or TICKET in record.tags:
            continue
        refuses = read_abstention(record.response, house.abstention).abstains
        verdict = Verdict(
            record,
            _agreed([_supported(row, refuses) for row in said]),
            _agreed([_answerable(row, refuses) for row in said]),
            all(row.audit for row in said),
        )
        if not (verdict.faithfulness is None and verdict.sufficiency is None):
            verdicts.append(verdict)
    return verdicts


def _supported(row: Any, refuses: bool) -> bool | None:
    """Whether the response was supported: good as it is, or unfaithful, or an answer where there was none."""
    if refuses:
        return None
    if row.decision == Decision.good_as_is:
        return True
    if row.decision == Decision.abstain or row.failure in (Failure.unfaithful, Failure.missing_abstention):
        return False
    return None


def _answerable(row: Any, refuses: bool) -> bool | None:
    if row.decision == Decision.answer:
        return True
    if row.decision == Decision.abstain:
        return False
    return not refuses if row.decision == Decision.good_as_is else None


def _agreed(said: Sequence[bool | None]) -> bool | None:
    votes = {vote for vote in said if vote is not None}
    return votes.pop() if len(votes) == 1 else None


def _enough(verdicts: Sequence[Verdict], judged: str) -> bool:
    audit = [verdict for verdict in verdicts if verdict.audit and getattr(verdict, judged) is not None]
    said = [getattr(verdict, judged) for verdict in audit]
    questions = {verdict.record.query for verdict in audit}
    return len(said) >= ENOUGH and EACH <= sum(said) <= len(said) - EACH and len(questions) >= EACH


def _measures(
    engine: Engine, records: Sequence[RagRecord], house: HouseSettings, encode: Encoder | None, encoder: str
) -> tuple[list[Measured | None], list[Measured]]:
    """Measures of faithfulness (None for a response that claims nothing) and of sufficiency."""
    readings = [read(record, house) for record in records]
    extra: list[Measured] = [{} for _ in records]
    if encode:
        extra = similarities(records, encode, kept_vectors(engine, encode, encoder))
    faithful = [whole(reading.judged) if reading.judged else None for reading in readings]
    return faithful, [of_the_whole(one.answer.holding) | more for one, more in zip(readings, extra, strict=True)]


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
        share=sum(truth) / len(truth),
        before=float(_losses(before, truth).mean()),
        after=float(_losses(probabilities, truth).mean()),
        brier_skill=brier_skill(probabilities, truth),
        calibration_error=calibration_error(probabilities, truth),
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
