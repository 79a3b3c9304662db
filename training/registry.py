"""Which adapters there are, which one runs, and the append-only log of how that came about."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, insert, select

from logs_schema.errors import ConfigurationError, InputError, NotReadyError
from logs_schema.forgetting import Taint, tainted
from logs_schema.lookup import newest_or_named
from logs_schema.records import Value
from logs_schema.store import writing
from logs_schema.tables import Adapter, Evaluation, GateDecision, now
from logs_schema.tables import Promotion as PromotionRow
from logs_schema.taxonomy import PromotionAction
from training.adapter import TrainReport, verify

if TYPE_CHECKING:
    import pandas as pd

ADAPTER: Any = Adapter.__table__  # type: ignore[attr-defined]
EVALUATION: Any = Evaluation.__table__  # type: ignore[attr-defined]
GATE: Any = GateDecision.__table__  # type: ignore[attr-defined]
PROMOTION: Any = PromotionRow.__table__  # type: ignore[attr-defined]


class RegisteredAdapter(Value):
    """One adapter of the registry."""

    adapter_id: str
    dataset_id: str
    base_model: str
    path: str
    sha256: str
    seed: int
    created_at: datetime
    state: str
    """`champion`, `former champion`, `gate passed`, `gate refused`, `evaluated` or `trained`."""
    forgotten: Taint | None = None
    """Rows of its dataset that were forgotten since; None when there are none."""

    def text(self) -> str:
        """One line."""
        made = f"{self.created_at:%Y-%m-%d %H:%M}"
        taint = f"  FORGOTTEN since: {self.forgotten.text()} rows" if self.forgotten else ""
        return f"{self.adapter_id}  {self.state:<15}  {made}  data {self.dataset_id}  {self.path}{taint}"


class AdapterList(Value):
    """Every adapter, newest first."""

    adapters: tuple[RegisteredAdapter, ...]

    def text(self) -> str:
        """One line an adapter."""
        if not self.adapters:
            return "No adapters yet: run `factory train`."
        return "\n".join(adapter.text() for adapter in self.adapters)


class PromotionReport(Value):
    """What was promoted or rolled back, by whom."""

    action: PromotionAction
    adapter_id: str | None
    """The champion from now on; None: the plain base model."""
    previous_id: str | None
    path: str | None
    by: str
    note: str | None
    changed: bool = True
    """False when it was the champion already."""

    def text(self) -> str:
        """What runs now."""
        runs = f"adapter {self.adapter_id} ({self.path})" if self.adapter_id else "the plain base model"
        before = f"adapter {self.previous_id}" if self.previous_id else "the plain base model"
        if not self.changed:
            return f"The champion is {runs} already; nothing was changed."
        verb = "Promoted" if self.action is PromotionAction.promote else "Rolled back"
        return f"{verb} by {self.by}: the champion is {runs}; before it was {before}."


def register_adapter(engine: Engine, report: TrainReport) -> None:
    """Enter a trained adapter; the same one again changes at most its folder.

    Raises:
        InputError: an adapter of this id with other weights is registered already.
    """
    with writing(engine) as connection:
        known = connection.execute(select(ADAPTER.c.sha256).where(ADAPTER.c.id == report.adapter_id)).first()
        if known is None:
            connection.execute(
                insert(ADAPTER).values(
                    id=report.adapter_id,
                    dataset_id=report.dataset_id,
                    base_model=report.base_model,
                    path=str(Path(report.path).absolute()),
                    sha256=report.sha256,
                    seed=report.recipe["seed"],
                    config=report.recipe,
                    created_at=now(),
                )
            )
        elif known.sha256 != report.sha256:
            raise InputError(
                f"Adapter {report.adapter_id} is registered with other weights than those in {report.path}: "
                "bring the registered folder back, or train with another seed."
            )
        else:
            connection.execute(
                ADAPTER.update().where(ADAPTER.c.id == report.adapter_id).values(path=str(Path(report.path).absolute()))
            )


def adapters(engine: Engine) -> "pd.DataFrame":
    """Every adapter, newest first: one row each, with the columns of `RegisteredAdapter`."""
    import pandas as pd

    listed = [adapter.model_dump() for adapter in adapter_list(engine).adapters]
    return pd.DataFrame(listed, columns=list(RegisteredAdapter.model_fields))


def adapter_list(engine: Engine) -> AdapterList:
    """Every adapter, newest first."""
    with engine.connect() as connection:
        rows = connection.execute(select(ADAPTER).order_by(ADAPTER.c.created_at.desc(), ADAPTER.c.id)).all()
        states = _states(connection)
        forgotten = tainted(connection)
    return AdapterList(
        adapters=tuple(_adapter(row, states.get(row.id, "trained"), forgotten.get(row.dataset_id)) for row in rows)
    )


def find_adapter(engine: Engine, adapter_id: str | None = None) -> RegisteredAdapter:
    """One adapter by its id or the beginning of it; None: the newest.

    Raises:
        NotReadyError: there is none yet.
        InputError: the id names none, or several.
    """
    return newest_or_named(
        adapter_list(engine).adapters,
        adapter_id,
        id_of=lambda adapter: adapter.adapter_id,
        what="adapter",
        make="factory train",
        listing="factory adapters list",
    )


def champion(engine: Engine) -> RegisteredAdapter | None:
    """The adapter that runs, as the last promotion says; None: the plain base model."""
    with engine.connect() as connection:
        current = _champion_id(connection)
    return find_adapter(engine, current) if current else None


def promote(engine: Engine, adapter_id: str, *, by: str, note: str | None = None) -> PromotionReport:
    """Make an adapter the champion, when its latest gate passed against the present champion.

    Raises:
        ConfigurationError: nobody is named as the one who promotes.
        NotReadyError: it was not gated yet, its gate refused it, the champion has changed since, or rows that
            it was made with were forgotten.
        InputError: there is no such adapter, or its files are not those that were trained.
    """
    name = _named(by)
    adapter = find_adapter(engine, adapter_id)
    if adapter.forgotten and (adapter.forgotten.train or adapter.forgotten.validation):
        raise NotReadyError(
            f"Adapter {adapter.adapter_id} was made with rows that were forgotten since ({adapter.forgotten.text()}): "
            "run `factory retrain` for one without them."
        )
    verify(Path(adapter.path), adapter.sha256)
    with writing(engine) as connection:
        current = _champion_id(connection)
        if current == adapter.adapter_id:
            return _promotion(adapter, current, name, note, changed=False)
        gate = connection.execute(
            select(GATE.c.id, GATE.c.passed, EVALUATION.c.champion_id)
            .join(EVALUATION, EVALUATION.c.id == GATE.c.evaluation_id)
            .where(GATE.c.adapter_id == adapter.adapter_id)
            .order_by(GATE.c.created_at.desc(), GATE.c.id)
            .limit(1)
        ).first()
        again = f"run `factory eval --adapter {adapter.adapter_id}` and `factory gate --adapter {adapter.adapter_id}`"
        if gate is None:
            raise NotReadyError(f"Adapter {adapter.adapter_id} has not been through the gate: {again} first.")
        if not gate.passed:
            raise NotReadyError(f"The gate refused adapter {adapter.adapter_id}: only one that passes can be promoted.")
        if gate.champion_id != current:
            raise NotReadyError(
                f"The champion has changed since adapter {adapter.adapter_id} was gated: {again} again."
            )
        connection.execute(
            insert(PROMOTION).values(
                action=PromotionAction.promote.value,
                adapter_id=adapter.adapter_id,
                gate_id=gate.id,
                by=name,
                note=note,
                created_at=now(),
            )
        )
    return _promotion(adapter, current, name, note)


approve = promote
"""A person's promotion of an adapter that passed the gate."""


def rollback(engine: Engine, *, by: str, note: str | None = None) -> PromotionReport:
    """Take back the last promotion that still stands: the champion before it runs again, or the base.

    Raises:
        ConfigurationError: nobody is named as the one who rolls back.
        NotReadyError: no promotion is left to take back.
        InputError: the files of the former champion are not those that were trained.
    """
    name = _named(by)
    with writing(engine) as connection:
        standing = _standing(connection)
        if not standing:
            raise NotReadyError("The plain base model runs: there is no promotion to take back.")
        target = standing[-2] if len(standing) > 1 else None
        row = connection.execute(select(ADAPTER).where(ADAPTER.c.id == target)).first() if target else None
        if row is not None:
            verify(Path(row.path), row.sha256)
        connection.execute(
            insert(PROMOTION).values(
                action=PromotionAction.rollback.value, adapter_id=target, by=name, note=note, created_at=now()
            )
        )
    return PromotionReport(
        action=PromotionAction.rollback,
        adapter_id=target,
        previous_id=standing[-1],
        path=row.path if row is not None else None,
        by=name,
        note=note,
    )


def _named(by: str) -> str:
    if not by.strip():
        raise ConfigurationError("Say who decides: --by NAME.")
    return by.strip()


def _promotion(
    adapter: RegisteredAdapter, previous: str | None, by: str, note: str | None, *, changed: bool = True
) -> PromotionReport:
    return PromotionReport(
        action=PromotionAction.promote,
        adapter_id=adapter.adapter_id,
        previous_id=previous,
        path=adapter.path,
        by=by,
        note=note,
        changed=changed,
    )


def _champion_id(connection: Connection) -> str | None:
    current: str | None = connection.scalar(select(PROMOTION.c.adapter_id).order_by(PROMOTION.c.id.desc()).limit(1))
    return current


def _standing(connection: Connection) -> Sequence[str]:
    """Adapters whose promotions still stand, oldest first: a rollback takes the last one away."""
    stack: list[str] = []
    for action, adapter_id in connection.execute(
        select(PROMOTION.c.action, PROMOTION.c.adapter_id).order_by(PROMOTION.c.id)
    ):
        if action == PromotionAction.promote:
            stack.append(adapter_id)
        elif stack:
            stack.pop()
    return stack


def _states(connection: Connection) -> dict[str, str]:
    """The furthest that each adapter has come; a later entry overrides an earlier one."""
    states = dict.fromkeys(connection.scalars(select(EVALUATION.c.adapter_id)), "evaluated")
    gates = select(GATE.c.adapter_id, GATE.c.passed).order_by(GATE.c.created_at, GATE.c.id.desc())
    states |= {row.adapter_id: "gate passed" if row.passed else "gate refused" for row in connection.execute(gates)}
    promoted = select(PROMOTION.c.adapter_id).where(PROMOTION.c.adapter_id.is_not(None))
    states |= dict.fromkeys(connection.scalars(promoted), "former champion")
    current = _champion_id(connection)
    return states | ({current: "champion"} if current else {})


def _adapter(row: Row[Any], state: str, forgotten: Taint | None) -> RegisteredAdapter:
    return RegisteredAdapter(
        adapter_id=row.id,
        dataset_id=row.dataset_id,
        base_model=row.base_model,
        path=row.path,
        sha256=row.sha256,
        seed=row.seed,
        created_at=row.created_at,
        state=state,
        forgotten=forgotten,
    )
