"""How far the review is: the queue, the dataset in Argilla, and each curator."""

from sqlalchemy import Engine, case, func, select

from labeling import client as argilla
from labeling.settings import LabelingSettings
from logs_schema.errors import FactoryError
from logs_schema.records import Value
from logs_schema.rows import QUEUE, REVIEW
from logs_schema.wording import counted


class Curator(Value):
    """Responses of one user."""

    name: str
    submitted: int
    draft: int
    discarded: int


class StatusReport(Value):
    """State of the review."""

    target: str
    """`URL workspace/dataset`."""
    problem: str | None
    """Why Argilla's numbers are missing; None when it answered."""
    records: int | None
    """Records in the dataset; None when not known."""
    completed: int | None
    """Those with enough submitted responses."""
    curators: tuple[Curator, ...]
    queued: dict[str, int]
    """Queue items by reason (`finding`, `audit`)."""
    pushed: int
    reviewed: int
    """Queue items with at least one review in the store."""

    def text(self) -> str:
        """A few lines."""
        by_reason = ", ".join(f"{count} {reason}" for reason, count in sorted(self.queued.items())) or "empty"
        lines = [f"Queue: {by_reason}; {self.pushed} pushed, {self.reviewed} reviewed."]
        if self.problem:
            return "\n".join([*lines, f"Argilla: {self.problem}"])
        if self.records is None:
            return "\n".join([*lines, f"Argilla at {self.target}: no dataset yet; run `factory label push`."])
        lines.append(f"Argilla at {self.target}: {self.completed:,} of {counted(self.records, 'record')} completed.")
        lines += [
            f"  {curator.name}: {curator.submitted:,} submitted, {counted(curator.draft, 'draft')}, "
            f"{curator.discarded:,} discarded"
            for curator in self.curators
        ]
        return "\n".join(lines)


def status(engine: Engine, settings: LabelingSettings, *, api_key: str | None = None) -> StatusReport:
    """Numbers of the queue, and of Argilla when it answers."""
    problem = records = completed = None
    curators: tuple[Curator, ...] = ()
    try:
        with argilla.session(settings, api_key) as client:
            dataset = argilla.find_dataset(client, settings)
            if dataset:
                path = f"/api/v1/datasets/{dataset['id']}"
                progress = argilla.ask(client, "GET", f"{path}/progress")
                records, completed = progress["total"], progress["completed"]
                users = argilla.ask(client, "GET", f"{path}/users/progress")["users"]
                curators = tuple(_curator(user) for user in sorted(users, key=lambda user: str(user["username"])))
    except FactoryError as error:
        problem = str(error)
    is_pushed = func.sum(case((QUEUE.c.pushed_at.is_not(None), 1), else_=0))
    with engine.connect() as connection:
        rows = connection.execute(
            select(QUEUE.c.reason, func.count(), is_pushed).group_by(QUEUE.c.reason).order_by(QUEUE.c.reason)
        ).all()
        reviewed = connection.execute(
            select(func.count(REVIEW.c.interaction_id.distinct())).where(
                REVIEW.c.interaction_id.in_(select(QUEUE.c.interaction_id))
            )
        ).scalar_one()
    return StatusReport(
        target=argilla.target(settings),
        problem=problem,
        records=records,
        completed=completed,
        curators=curators,
        queued={row[0]: row[1] for row in rows},
        pushed=sum(row[2] for row in rows),
        reviewed=reviewed,
    )


def _curator(user: dict[str, object]) -> Curator:
    by_record = [states for states in (user["completed"], user["pending"]) if isinstance(states, dict)]
    counts = {state: sum(states.get(state, 0) for states in by_record) for state in ("submitted", "draft", "discarded")}
    return Curator(name=str(user["username"]), **counts)
