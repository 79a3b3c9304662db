"""Measuring a challenger against what runs today, on held-out rows that people judged."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from logs_schema.errors import InputError, NotReadyError
from logs_schema.examples import TrainingExample
from logs_schema.files import write_atomic
from logs_schema.records import content_hash
from logs_schema.scores import AbstentionDetector, GroundednessScorer, Track, untracked
from logs_schema.taxonomy import Split
from training.adapter import verify
from training.base_model import resolve
from training.dataset import read_manifest, read_split
from training.device import choose
from training.general import conversation, reserved_replies
from training.generate import loss_sums
from training.metrics import Array, Bootstrap, Figure, row_counts, tokens
from training.prompt_cache import PromptCache
from training.report import (
    ALWAYS_REFUSING,
    BASE,
    CHALLENGER,
    CHAMPION,
    PRODUCTION,
    Comparison,
    EvaluationReport,
    Forgetting,
    RungFigures,
)
from training.rungs import Rung
from training.settings import EvaluationSettings, TrainingSettings

METRICS_VERSION = 1
"""Raise it when the same answers get other figures."""
REPORT = "report.json"

Answers = dict[str, list[str | None]]
"""Rung → its answer to each row; None where it has none."""


def evaluate(
    dataset: Path,
    adapter: Path,
    champion: Path | None,
    settings: EvaluationSettings,
    training_settings: TrainingSettings,
    *,
    out: Path,
    is_abstention: AbstentionDetector,
    groundedness: GroundednessScorer | None = None,
    track: Track = untracked,
) -> EvaluationReport:
    """Answer the held-out rows with every rung, and compare.

    The rungs: the logged production answers, the base quantized as in training and loaded afresh, the
    champion if there is one, the challenger, and always refusing as a computed row. Answers are kept under
    `out/answers` as they are made: a killed evaluation goes on, and no model answers a prompt twice.

    Args:
        dataset: dataset folder whose `test` rows are used; general rows are not.
        adapter: folder of the challenger.
        champion: folder of the champion; None when the base runs.
        settings: rows, answering and intervals.
        training_settings: base model, device and quantization, with absolute folders.
        out: folder of all evaluations; this one is kept in `out/<evaluation id>`.
        is_abstention: says whether an answer is a refusal.
        groundedness: a diagnostic scorer of answers against their passages.
        track: shows progress.

    Raises:
        NotReadyError: the dataset has no held-out rows, or something is not there yet.
        InputError: the dataset or an adapter is damaged, or made for another base model.
    """
    manifest = read_manifest(dataset)
    held_out = [row for row in read_split(dataset, Split.test) if row.answerable is not None]
    if not held_out:
        raise NotReadyError(f"{dataset} has no held-out rows to evaluate on: review more records, then build it again.")
    device = choose(training_settings)
    base = resolve(training_settings)
    challenger_report = verify(adapter)
    champion_report = verify(champion) if champion else None
    for trained in (challenger_report, champion_report):
        if trained and trained.base_sha256 != base.sha256:
            raise InputError(
                f"Adapter {trained.adapter_id} was trained on another base model ({trained.base_model}): "
                "set [training] base_model to it, or train again."
            )
    rows = choose_rows(held_out, settings.max_rows, manifest.seed)

    models = {BASE: (None, None), CHAMPION: (champion, champion_report), CHALLENGER: (adapter, challenger_report)}
    shared = PromptCache() if device.kind == "cpu" and challenger_report.activated else None
    rungs = {
        name: Rung(
            base,
            training_settings,
            device,
            folder,
            report.sha256 if report else "",
            shared if report is None or report.activated else None,
        )
        for name, (folder, report) in models.items()
        if name == BASE or folder
    }
    answers: Answers = {PRODUCTION: [row.production_response for row in rows]}
    for name, rung in rungs.items():
        answers[name] = list(
            rung.answers(
                [row.prompt for row in rows],
                out / "answers",
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
                description=f"Answers of {name}",
                track=track,
            )
        )
        if name == CHAMPION:
            rung.release()
    answers[ALWAYS_REFUSING] = [manifest.abstention] * len(rows)
    counts = _count(rows, answers, is_abstention, groundedness)
    forgetting = _forgetting(rungs[BASE], rungs[CHALLENGER], settings, out, manifest.seed, track)
    identity = content_hash(
        [
            METRICS_VERSION,
            challenger_report.sha256,
            champion_report.sha256 if champion_report else None,
            base.sha256,
            manifest.dataset_id,
            settings.model_dump(mode="json", exclude={"folder", "batch_size"}),
            answers,
        ]
    )
    report = EvaluationReport(
        evaluation_id=identity,
        adapter_id=challenger_report.adapter_id,
        champion_id=champion_report.adapter_id if champion_report else None,
        dataset_id=manifest.dataset_id,
        base_model=base.name,
        path=str(out / identity),
        rows=len(rows),
        answerable=sum(row.answerable is True for row in rows),
        unanswerable=sum(row.answerable is False for row in rows),
        groups=len({row.group for row in rows}),
        audit_rows=sum(row.audit for row in rows),
        left_out=len(held_out) - len(rows),
        own_references=sum(
            row.answerable is True and tokens(row.production_response or "") == tokens(row.completion) for row in rows
        ),
        confidence=settings.confidence,
        rungs=_part(rows, answers, counts, settings, manifest.seed, [True] * len(rows)),
        comparisons=_comparisons(rows, answers, counts, settings, manifest.seed),
        audit=_part(rows, answers, counts, settings, manifest.seed, [row.audit for row in rows]),
        kinds={
            kind: _part(rows, answers, counts, settings, manifest.seed, [row.kind == kind for row in rows])
            for kind in sorted({row.kind for row in rows})
        },
        forgetting=forgetting,
    )
    _save(out / identity, report, rows, answers, is_abstention)
    return report


def choose_rows(rows: Sequence[TrainingExample], most: int, seed: int) -> list[TrainingExample]:
    """At most `most` rows: audit rows first, the rest a seeded sample with each kind's share kept."""
    if len(rows) <= most:
        return list(rows)
    audit = [row for row in rows if row.audit]
    if len(audit) >= most:
        chosen = _stratified(audit, most, seed)
    else:
        chosen = audit + _stratified([row for row in rows if not row.audit], most - len(audit), seed)
    ids = {row.example_id for row in chosen}
    return [row for row in rows if row.example_id in ids]


def _stratified(rows: Sequence[TrainingExample], most: int, seed: int) -> list[TrainingExample]:
    """A seeded sample in which every kind has its share, to within one row."""
    kinds: dict[str, list[TrainingExample]] = {}
    for row in sorted(rows, key=lambda row: row.example_id):
        kinds.setdefault(row.kind, []).append(row)
    shares: list[tuple[float, str, TrainingExample]] = []
    for kind, members in sorted(kinds.items()):
        random.Random(f"{seed} {kind}").shuffle(members)
        shares += [((place + 0.5) / len(members), kind, row) for place, row in enumerate(members)]
    return [row for _, _, row in sorted(shares, key=lambda share: share[:2])[:most]]


def _count(
    rows: Sequence[TrainingExample],
    answers: Answers,
    is_abstention: AbstentionDetector,
    groundedness: GroundednessScorer | None,
) -> dict[str, list[Array | None]]:
    counts: dict[str, list[Array | None]] = {}
    for rung, given in answers.items():
        refused = [
            answer is not None and (rung == ALWAYS_REFUSING or not answer.strip() or is_abstention(answer))
            for answer in given
        ]
        scored: dict[int, float] = {}
        if groundedness is not None:
            places = [at for at, answer in enumerate(given) if answer and not refused[at] and rows[at].contexts]
            pairs = [(str(given[at]), [context.text for context in rows[at].contexts]) for at in places]
            scored = dict(zip(places, groundedness(pairs), strict=True))
        counts[rung] = [
            None
            if answer is None
            else row_counts(
                answer,
                row.completion,
                answerable=bool(row.answerable),
                refused=refused[at],
                evidence_ranks=row.evidence_ranks,
                groundedness=scored.get(at),
            )
            for at, (row, answer) in enumerate(zip(rows, given, strict=True))
        ]
    return counts


def _part(
    rows: Sequence[TrainingExample],
    answers: Answers,
    counts: dict[str, list[Array | None]],
    settings: EvaluationSettings,
    seed: int,
    wanted: Sequence[bool],
) -> tuple[RungFigures, ...]:
    """Every rung on the wanted rows that it answered; rungs without any are left out."""
    found = []
    for rung in answers:
        places = [at for at, each in enumerate(counts[rung]) if each is not None and wanted[at]]
        if not places:
            continue
        draws = _draws([rows[at].group for at in places], settings, seed)
        found.append(RungFigures(rung=rung, rows=len(places), figures=draws.figures(_matrix(counts[rung], places))))
    return tuple(found)


def _comparisons(
    rows: Sequence[TrainingExample],
    answers: Answers,
    counts: dict[str, list[Array | None]],
    settings: EvaluationSettings,
    seed: int,
) -> tuple[Comparison, ...]:
    found = []
    for reference in answers:
        places = [at for at, each in enumerate(counts[reference]) if each is not None]
        if reference == CHALLENGER or not places:
            continue
        draws = _draws([rows[at].group for at in places], settings, seed)
        differences = draws.differences(_matrix(counts[CHALLENGER], places), _matrix(counts[reference], places))
        found.append(Comparison(reference=reference, rows=len(places), differences=differences))
    return tuple(found)


def _draws(groups: Sequence[str], settings: EvaluationSettings, seed: int) -> Bootstrap:
    return Bootstrap(groups, resamples=settings.bootstrap, confidence=settings.confidence, seed=seed)


def _matrix(counts: Sequence[Array | None], places: Sequence[int]) -> Array:
    return np.array([counts[at] for at in places], dtype=np.float64)


def _forgetting(
    base: Rung, challenger: Rung, settings: EvaluationSettings, out: Path, seed: int, track: Track
) -> Forgetting | None:
    """How much less likely the challenger finds the base's own replies to the reserved general prompts."""
    if not settings.forgetting_rows:
        return None
    pairs = [
        (conversation(prompt), reply)
        for prompt, reply in reserved_replies(base, out / "answers", settings.forgetting_rows, track=track)
    ]
    if not pairs:
        return Forgetting(base=None, challenger=None, rise=Figure(value=None))
    before = np.array(loss_sums(*base.loaded, pairs, settings.batch_size))
    after = np.array(loss_sums(*challenger.loaded, pairs, settings.batch_size))
    draws = _draws([prompt[0].content for prompt, _ in pairs], settings, seed)
    tokens = before[:, 1]
    totals = np.array([before[:, 0].sum(), after[:, 0].sum()]) / tokens.sum()
    rises = (draws.weights @ _by_group(draws, after[:, 0] - before[:, 0])) / (draws.weights @ _by_group(draws, tokens))
    rise = draws.figure(float(totals[1] - totals[0]), rises, len(pairs))
    return Forgetting(base=float(totals[0]), challenger=float(totals[1]), rise=rise)


def _by_group(draws: Bootstrap, values: Array) -> Array:
    """Sums of `values` in each group."""
    return np.bincount(draws.groups, weights=values, minlength=draws.size).astype(np.float64)


def _save(
    folder: Path,
    report: EvaluationReport,
    rows: Sequence[TrainingExample],
    answers: Answers,
    is_abstention: AbstentionDetector,
) -> None:
    lines = []
    for at, row in enumerate(rows):
        given = {
            rung: texts[at] for rung, texts in answers.items() if rung != ALWAYS_REFUSING and texts[at] is not None
        }
        lines.append(
            {
                "example_id": row.example_id,
                "kind": row.kind,
                "audit": row.audit,
                "group": row.group,
                "query": row.query,
                "answerable": row.answerable,
                "reference": row.completion,
                "answers": given,
                "refused": [rung for rung, text in given.items() if text is not None and is_abstention(text)],
            }
        )
    write_atomic(
        folder / "answers.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    )
    write_atomic(folder / REPORT, report.model_dump_json(indent=1).encode())
