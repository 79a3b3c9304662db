"""Send queued records to Argilla."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine, select, update

from labeling import client as argilla
from labeling.form import form, record_fields
from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError
from logs_schema.records import RagRecord, Value
from logs_schema.rows import FINDING, QUEUE, REVIEWED
from logs_schema.scores import Track, untracked
from logs_schema.settings import HouseSettings
from logs_schema.store import load_records, writing
from logs_schema.tables import now
from logs_schema.taxonomy import QueueReason
from logs_schema.visible import visible
from logs_schema.wording import counted

if TYPE_CHECKING:
    from argilla import Argilla

FORM_PARTS = {"fields": "", "questions": "", "metadata-properties": "/me"}
"""Parts of the form, and where the HTTP interface lists them."""

Draft = Callable[[RagRecord], tuple[str, str] | None]
"""(text, where it comes from) of an ideal answer that a curator may start from, or None."""


class PushReport(Value):
    """What a push sent."""

    target: str
    """`URL workspace/dataset`."""
    dataset_created: bool
    pushed: int
    """Records sent by this push."""
    already_there: int
    """Records that Argilla held already, from a push that was cut off."""
    drafts: int
    """Of the records sent, those with a draft answer."""
    waiting: int
    """Queued records that were left for the next push by `limit`."""
    by_reason: dict[str, int]
    """Records sent, by primary failure (`audit` for audit records)."""

    def text(self) -> str:
        """A few lines."""
        lines = [
            f"Pushed {counted(self.pushed, 'record')} to {self.target}"
            + (" (new dataset)" if self.dataset_created else "")
        ]
        lines += [f"  {count:5d}  {reason}" for reason, count in sorted(self.by_reason.items())]
        lines += [f"{counted(self.drafts, 'of them carries', 'of them carry')} a draft answer."] if self.drafts else []
        lines += [f"{counted(self.already_there, 'was', 'were')} there already."] if self.already_there else []
        lines += (
            [f"{counted(self.waiting, 'queued record waits', 'queued records wait')} for the next push."]
            if self.waiting
            else []
        )
        return "\n".join(lines)


class _Item(NamedTuple):
    id: str
    reason: str
    failure: str | None
    priority: float
    why: str | None


def push(
    engine: Engine,
    settings: LabelingSettings,
    house: HouseSettings,
    *,
    api_key: str | None = None,
    draft: Draft | None = None,
    limit: int | None = None,
    track: Track = untracked,
) -> PushReport:
    """Send the queued records that Argilla does not hold yet: by priority, audit records spread evenly among them.

    A record has the same id there as here. A push that was cut off is completed by the next one;
    records that are there already are left as they are, with what curators wrote.

    `draft` proposes ideal answers, never for audit records; `limit` is the number of records to send at most.

    Raises:
        ConfigurationError, NotReadyError, InputError: see `client.connect` and `client.ask`.
    """
    target = argilla.target(settings)
    sent: Counter[str] = Counter()
    there = drafts = 0
    with argilla.session(settings, api_key) as client:
        dataset_id, created = _dataset(client, settings, house)
        due = _due(engine, target, dataset_is_new=created)
        chosen = due if limit is None else due[:limit]
        questions = argilla.question_ids(client, dataset_id)
        batches = [chosen[at : at + settings.batch_size] for at in range(0, len(chosen), settings.batch_size)]
        for batch in track(batches, description="push", total=len(batches)):
            known = argilla.records_by_id(client, dataset_id, [item.id for item in batch])
            records = load_records(engine, [item.id for item in batch if item.id not in known])
            new = [item for item in batch if item.id in records]
            bodies = [_body(item, records[item.id], house, draft, questions) for item in new]
            if bodies:
                argilla.ask(client, "POST", f"/api/v1/datasets/{dataset_id}/records/bulk", json={"items": bodies})
            _mark(engine, [item.id for item in batch], target)
            sent.update(item.failure or item.reason for item in new)
            there += len(known)
            drafts += sum("suggestions" in body for body in bodies)
    return PushReport(
        target=target,
        dataset_created=created,
        pushed=sent.total(),
        already_there=there,
        drafts=drafts,
        waiting=len(due) - len(chosen),
        by_reason=dict(sent),
    )


def mixed(findings: Sequence[Any], audits: Sequence[Any]) -> list[Any]:
    """Both in their order, the audits spread evenly over the findings."""
    places = [((at + 0.5) / len(group), kind, item) for kind, group in enumerate((findings, audits))
              for at, item in enumerate(group)]  # fmt: skip
    return [item for _, _, item in sorted(places, key=lambda place: place[:2])]


def _due(engine: Engine, target: str, *, dataset_is_new: bool) -> list[_Item]:
    """Queue items that nobody has reviewed and that this Argilla does not hold, in the order to send them."""
    queue, finding = QUEUE.c, FINDING.c
    query = (
        select(queue.interaction_id, queue.reason, queue.failure, queue.priority, finding.why)
        .join(FINDING, finding.interaction_id == queue.interaction_id, isouter=True)
        .where(~REVIEWED)
        .order_by(queue.priority.desc(), queue.interaction_id)
    )
    if not dataset_is_new:
        query = query.where(queue.pushed_at.is_(None) | (queue.pushed_to != target))
    with engine.connect() as connection:
        items = [_Item(*row) for row in connection.execute(query)]
    audits = [item._replace(failure=None, why=None) for item in items if item.reason == QueueReason.audit]
    return mixed([item for item in items if item.reason != QueueReason.audit], audits)


def _body(
    item: _Item, record: RagRecord, house: HouseSettings, draft: Draft | None, questions: dict[str, str]
) -> dict[str, Any]:
    metadata = {
        "reason": item.reason,
        "priority": item.priority,
        "record_hash": record.exchange_hash,
        "guidelines_version": house.guidelines_version,
    }
    if item.failure:
        metadata["flagged_as"] = item.failure
    body: dict[str, Any] = {
        "external_id": item.id,
        "fields": record_fields(record, item.why),
        "metadata": metadata,
    }
    proposal = draft(record) if draft and item.reason != QueueReason.audit else None
    if proposal:
        text, origin = proposal
        value = {"question_id": questions["ideal_answer"], "value": visible(text), "agent": origin}
        body["suggestions"] = [{**value, "type": "human" if origin == "correction" else "model"}]
    return body


def _mark(engine: Engine, ids: Sequence[str], target: str) -> None:
    with writing(engine) as connection:
        sent = update(QUEUE).where(QUEUE.c.interaction_id.in_(ids))
        connection.execute(sent.values(pushed_at=now(), pushed_to=target))


def _dataset(client: "Argilla", settings: LabelingSettings, house: HouseSettings) -> tuple[str, bool]:
    """Id of the review dataset, and whether it was created now; a half-made one is made anew."""
    wanted = form(house)
    found = argilla.find_dataset(client, settings)
    if found and found["status"] != "ready":  # cut off while it was created: it holds no records yet
        argilla.ask(client, "DELETE", f"/api/v1/datasets/{found['id']}")
        found = None
    if found is None:
        return _create(client, settings, wanted), True
    dataset_id = str(found["id"])
    _refuse_other_form(client, settings, dataset_id, wanted)
    if found["guidelines"] != wanted["guidelines"]:
        argilla.ask(client, "PATCH", f"/api/v1/datasets/{dataset_id}", json={"guidelines": wanted["guidelines"]})
    return dataset_id, False


def _create(client: "Argilla", settings: LabelingSettings, wanted: dict[str, Any]) -> str:
    about = {
        "name": settings.dataset,
        "guidelines": wanted["guidelines"],
        "workspace_id": argilla.workspace_id(client, settings),
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
    }
    dataset_id = str(argilla.ask(client, "POST", "/api/v1/datasets", json=about)["id"])
    for part in FORM_PARTS:
        for item in wanted[part]:
            argilla.ask(client, "POST", f"/api/v1/datasets/{dataset_id}/{part}", json=item)
    argilla.ask(client, "PUT", f"/api/v1/datasets/{dataset_id}/publish")
    return dataset_id


def _refuse_other_form(client: "Argilla", settings: LabelingSettings, dataset_id: str, wanted: dict[str, Any]) -> None:
    lacking = []
    for part, owner in FORM_PARTS.items():
        there = argilla.ask(client, "GET", f"/api/v1{owner}/datasets/{dataset_id}/{part}")["items"]
        lacking += sorted({item["name"] for item in wanted[part]} - {item["name"] for item in there})
    if lacking:
        raise ConfigurationError(
            f"Argilla's dataset {settings.dataset} was not made by this product (it lacks {', '.join(lacking)}): "
            "set [labeling] dataset to another name."
        )


def correction_draft(record: RagRecord) -> tuple[str, str] | None:
    """A person's correction in the log as the draft: the newest one."""
    corrections = [event for event in record.feedback if event.correction and event.correction.strip()]
    if not corrections:
        return None
    dated = [event for event in corrections if event.occurred_at]
    newest = max(dated, key=lambda event: str(event.occurred_at)) if dated else corrections[-1]
    return str(newest.correction).strip(), "correction"
