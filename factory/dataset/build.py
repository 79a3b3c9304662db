"""From the store to a dataset version: guards, split, composition, folder, lineage, in this order."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from factory.dataset.candidates import RECORD_GONE, Candidate, Rules, consistent, judge, related_row
from factory.dataset.compose import Composer, Draft, compose, donors
from factory.dataset.examples import General, GeneralRows, example
from factory.dataset.folder import write_folder
from factory.dataset.readiness import refuse_unready
from factory.dataset.report import BuildReport, HeldBack
from factory.dataset.reviews import Case, read_cases, read_places
from factory.dataset.settings import DatasetSettings
from factory.dataset.split import Place, Placements, place
from factory.dataset.versions import remember
from logs_schema.documents import latest_documents
from logs_schema.errors import NotReadyError
from logs_schema.examples import TrainingExample
from logs_schema.records import RagRecord
from logs_schema.scores import AbstentionDetector, GroundednessScorer, Track, untracked
from logs_schema.settings import HouseSettings
from logs_schema.store import load_records
from logs_schema.taxonomy import Split

QUARANTINED = "related to rows on two sides of the split"
SURPLUS = "more abstentions than unanswerable_share allows"


def build(
    engine: Engine,
    settings: DatasetSettings,
    house: HouseSettings,
    *,
    folder: Path,
    groundedness: GroundednessScorer,
    is_abstention: AbstentionDetector,
    general: General | None = None,
    track: Track = untracked,
) -> BuildReport:
    """Build a dataset version from the reviews in the store.

    The same reviews and settings give the same bytes and the same id; a version that exists is
    used again. A killed build leaves nothing half-written: run it again.

    Args:
        engine: the store.
        settings: composition of the data.
        house: wording of "I don't know", guidelines version, system prompt.
        folder: where dataset versions are kept.
        groundedness: support of an answer by passages, 0 to 1.
        is_abstention: tells wordings of "I don't know".
        general: gives general instruction rows; None when the base model cannot be run here.
        track: shows progress.

    Raises:
        NotReadyError: too few rows, a test side that cannot measure both answering and abstaining, or
            another build that is running.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".build.lock", timeout=0):
            return _build(engine, settings, house, folder, groundedness, is_abstention, general, track)
    except Timeout as error:
        raise NotReadyError(f"Another `factory dataset build` is at work in {folder}: run it again later.") from error


def _build(
    engine: Engine,
    settings: DatasetSettings,
    house: HouseSettings,
    folder: Path,
    groundedness: GroundednessScorer,
    is_abstention: AbstentionDetector,
    general: General | None,
    track: Track,
) -> BuildReport:
    cases = read_cases(engine)
    if not cases:
        raise NotReadyError(
            "There are no reviews to build a dataset from: run `factory label push`, let curators decide, then "
            "run `factory label pull`."
        )
    rules = Rules(
        house=house,
        grounded=settings.grounded,
        allowed_groups=settings.allowed_groups,
        groundedness=groundedness,
        is_abstention=is_abstention,
        latest=latest_documents(engine),
    )
    placed = read_places(engine)
    records = load_records(engine, sorted({*placed, *(case.record_id for case in cases)}))
    candidates, left_out = _judged(cases, records, rules, track)
    placements = _placed(candidates, cases, records, rules, placed, settings)
    left_out[QUARANTINED] += [each.record_id for each in candidates if each.record_id in placements.quarantined]
    candidates = [each for each in candidates if each.record_id in placements.places]
    places = {each.record_id: placements.places[each.record_id] for each in candidates}
    sides = {split: [each for each in candidates if places[each.record_id].split is split] for split in Split}
    refuse_unready(len(sides[Split.train]), settings.min_rows, sides, left_out)

    replies = GeneralRows(general, validation_share=settings.validation_share, seed=settings.seed)
    composer = Composer(
        donors=donors(sides[Split.train]),
        distractors=settings.distractors,
        grounded=settings.grounded,
        groundedness=groundedness,
        abstention=house.abstention,
        evidence_counts=tuple(sorted(len(each.evidence) for each in sides[Split.train] if each.evidence)),
        seed=settings.seed,
    )
    composition = compose(
        sides[Split.train],
        composer,
        unanswerable_share=settings.unanswerable_share,
        evidence_removed_share=settings.evidence_removed_share,
        general_share=settings.general_share,
        general_available=replies.fetch,
        track=track,
    )
    left_out[SURPLUS] += composition.surplus
    refuse_unready(len(composition.drafts), settings.min_rows, sides, left_out)
    as_logged = [
        Draft(each, each.kind, each.record.contexts, each.completion, each.evidence)
        for side in (Split.validation, Split.test)
        for each in sides[side]
    ]
    drafts = [*composition.drafts, *as_logged]
    examples = [example(draft, places[draft.candidate.record_id]) for draft in drafts]
    examples += replies.examples(composition.general)
    hashes = Counter(draft.candidate.template.hash for draft in drafts)
    path, manifest, reused = write_folder(
        folder,
        examples,
        settings=settings,
        house=house,
        prompt_hashes=sorted(hashes, key=lambda name: (-hashes[name], name)),
        held_back={reason: len(ids) for reason, ids in left_out.items() if ids},
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    remember(engine, path, manifest, examples, places)
    return BuildReport(
        dataset_id=manifest.dataset_id,
        path=str(path),
        reused=reused,
        records=len(cases),
        counts=manifest.counts,
        answerable=_answerable(examples),
        audit=sum(row.audit for row in examples),
        held_back={
            reason: HeldBack(records=len(ids), example=min(ids)) for reason, ids in sorted(left_out.items()) if ids
        },
        given_up=len(composition.given_up),
        general_wanted=replies.wanted,
        general_available=general is not None,
    )


def _judged(
    cases: Sequence[Case], records: Mapping[str, RagRecord], rules: Rules, track: Track
) -> tuple[list[Candidate], defaultdict[str, list[str]]]:
    """What passes every guard, and the record ids that do not, by reason."""
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    passed: list[Candidate] = []
    for case in track(cases, description="Judging reviews", total=len(cases)):
        record = records.get(case.record_id)
        verdict = judge(case, record, rules) if record else RECORD_GONE
        if isinstance(verdict, str):
            left_out[verdict].append(case.record_id)
        else:
            passed.append(verdict)
    candidates, contradicting = consistent(passed)
    for reason, ids in contradicting.items():
        left_out[reason] += ids
    return candidates, left_out


def _placed(
    candidates: Sequence[Candidate],
    cases: Sequence[Case],
    records: Mapping[str, RagRecord],
    rules: Rules,
    placed: Mapping[str, Place],
    settings: DatasetSettings,
) -> Placements:
    """The split of the candidates.

    Records that give no row now take part too: those placed before still hold their side, and
    audit records, which may give a row later, keep their relatives out of training.
    """
    known = {candidate.record_id for candidate in candidates}
    reviewed = {case.record_id: case for case in cases}
    others = [
        related_row(reviewed.get(record_id), record, rules)
        for record_id, record in sorted(records.items())
        if record_id not in known and (record_id in placed or reviewed[record_id].audit)
    ]
    return place(
        [*(candidate.row for candidate in candidates), *others],
        placed,
        near_duplicate=settings.near_duplicate,
        test_share=settings.test_share,
        validation_share=settings.validation_share,
        seed=settings.seed,
    )


def _answerable(examples: Sequence[TrainingExample]) -> dict[str, int]:
    return {split.value: sum(row.answerable is True for row in examples if row.split is split) for split in Split}
