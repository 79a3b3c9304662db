"""Dataset versions in the store: remembered, listed, shown, verified, compared."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, Table, insert, select, update

from factory.dataset.folder import problems, read_examples, read_manifest
from factory.dataset.report import table
from factory.dataset.split import Place
from logs_schema.errors import InputError, NotReadyError
from logs_schema.examples import DatasetManifest, TrainingExample
from logs_schema.forgetting import Taint, tainted
from logs_schema.lookup import newest_or_named
from logs_schema.records import Value
from logs_schema.store import writing
from logs_schema.tables import DatasetRow, DatasetVersion, SplitPlacement, now
from logs_schema.taxonomy import ExampleKind, Split
from logs_schema.wording import counted

if TYPE_CHECKING:
    import pandas as pd

DATASET: Table = DatasetVersion.__table__  # type: ignore[attr-defined]
ROW: Table = DatasetRow.__table__  # type: ignore[attr-defined]
PLACEMENT: Table = SplitPlacement.__table__  # type: ignore[attr-defined]


class Version(Value):
    """One dataset version as the store knows it."""

    dataset_id: str
    created_at: datetime
    path: str
    manifest: DatasetManifest
    forgotten: Taint | None = None
    """Rows that were forgotten since it was built; None when there are none."""

    def text(self) -> str:
        """Counts, what was left out, and the settings."""
        lines = [f"Dataset {self.dataset_id} of {self.created_at:%Y-%m-%d %H:%M} UTC: {self.path}", ""]
        lines += [f"FORGOTTEN since it was built: {self.forgotten.text()} rows", ""] if self.forgotten else []
        lines += table(self.manifest.counts)
        lines += ["", "Left out:" if self.manifest.held_back else "Left out: nothing"]
        lines += [f"  {count:>5}  {reason}" for reason, count in self.manifest.held_back.items()]
        lines += ["", f'"I don\'t know" is: {self.manifest.abstention}']
        lines += [f"Guidelines version {self.manifest.guidelines_version}, seed {self.manifest.seed}"]
        lines += [f"Prompt templates: {', '.join(self.manifest.prompt_hashes)}", "Settings:"]
        lines += [f"  {name} = {value}" for name, value in self.manifest.settings.items()]
        return "\n".join(lines)


class VersionList(Value):
    """Every dataset version, newest first."""

    versions: tuple[Version, ...]

    def text(self) -> str:
        """One line a version."""
        if not self.versions:
            return "No datasets yet. Build one: factory dataset build"
        lines = [f"{'dataset':<18}{'built (UTC)':<18}{'train':>7}{'validation':>12}{'test':>6}  folder"]
        for version in self.versions:
            rows = {split: sum(version.manifest.counts.get(split, {}).values()) for split in Split}
            lines.append(
                f"{version.dataset_id:<18}{version.created_at:%Y-%m-%d %H:%M}  {rows[Split.train]:>7}"
                f"{rows[Split.validation]:>12}{rows[Split.test]:>6}  {version.path}"
                + (f"  FORGOTTEN since: {version.forgotten.text()} rows" if version.forgotten else "")
            )
        return "\n".join(lines)


class Verification(Value):
    """A dataset folder that is what its manifest says."""

    dataset_id: str
    path: str
    rows: dict[str, int]
    """Split → rows that were read."""

    def text(self) -> str:
        """What was checked."""
        rows = ", ".join(f"{split} {count}" for split, count in self.rows.items())
        return f"Dataset {self.dataset_id} is whole: every file has its SHA-256, the id fits. Rows: {rows}."


class Difference(Value):
    """What changed from one dataset version to another."""

    old: str
    new: str
    added: dict[str, int]
    """Split → rows of the new version that the old one does not have."""
    removed: dict[str, int]
    """Split → rows of the old version that the new one does not have."""
    added_records: tuple[str, ...]
    """Records that only the new version has rows of."""
    removed_records: tuple[str, ...]
    settings: dict[str, tuple[object, object]]
    """Setting → old and new value, where they differ."""

    def text(self) -> str:
        """Rows, records and settings that differ."""
        lines = [f"From {self.old} to {self.new}:"]
        lines += [
            f"  {split}: {counted(self.added[split], 'row')} added, {self.removed[split]:,} removed"
            for split in self.added
        ]
        lines.append(f"  records: {len(self.added_records)} new, {len(self.removed_records)} gone")
        lines += [f"  {name}: {old} → {new}" for name, (old, new) in self.settings.items()]
        return "\n".join(lines)


def remember(
    engine: Engine,
    path: Path,
    manifest: DatasetManifest,
    examples: Sequence[TrainingExample],
    places: Mapping[str, Place],
) -> None:
    """Keep version, lineage and new placements in one transaction; what is there already stays as it is."""
    folder = str(path.absolute())
    with writing(engine) as connection:
        known = connection.execute(select(DATASET.c.path).where(DATASET.c.id == manifest.dataset_id)).first()
        if known is None:
            connection.execute(
                insert(DATASET).values(
                    id=manifest.dataset_id,
                    path=folder,
                    manifest=manifest.model_dump(mode="json"),
                    created_at=datetime.fromisoformat(manifest.created_at),
                )
            )
            rows = [
                {
                    "dataset_id": manifest.dataset_id,
                    "example_id": example.example_id,
                    "kind": example.kind.value,
                    "split": example.split.value,
                    "interaction_id": example.record_id,
                    "review_id": example.review_id,
                }
                for example in examples
            ]
            connection.execute(insert(ROW), rows)
        elif known.path != folder:
            connection.execute(update(DATASET).where(DATASET.c.id == manifest.dataset_id).values(path=folder))
        placed = set(connection.scalars(select(PLACEMENT.c.interaction_id)))
        moment = now()
        new = [
            {"interaction_id": record_id, "split": place.split.value, "leak_group": place.group, "placed_at": moment}
            for record_id, place in sorted(places.items())
            if record_id not in placed
        ]
        if new:
            connection.execute(insert(PLACEMENT), new)


def versions(engine: Engine) -> VersionList:
    """Every dataset version, newest first."""
    with engine.connect() as connection:
        rows = connection.execute(select(DATASET).order_by(DATASET.c.created_at.desc(), DATASET.c.id)).all()
        forgotten = tainted(connection)
    return VersionList(
        versions=tuple(
            Version(
                dataset_id=row.id,
                created_at=row.created_at,
                path=row.path,
                manifest=DatasetManifest.model_validate(row.manifest),
                forgotten=forgotten.get(row.id),
            )
            for row in rows
        )
    )


def version(engine: Engine, dataset_id: str | None = None) -> Version:
    """One dataset version, by its id or the beginning of it; None: the newest.

    Raises:
        NotReadyError: there is no dataset yet.
        InputError: the id names none, or several.
    """
    return newest_or_named(
        versions(engine).versions,
        dataset_id,
        id_of=lambda each: each.dataset_id,
        what="dataset",
        make="factory dataset build",
        listing="factory dataset list",
    )


def verify(engine: Engine, dataset_id: str | None = None) -> Verification:
    """Hash the files of a version again and read every row.

    Raises:
        NotReadyError: rows of it were forgotten.
        InputError: something is missing or changed; the message lists it all.
    """
    found = version(engine, dataset_id)
    folder = Path(found.path)
    if found.forgotten:
        raise NotReadyError(
            f"Rows of dataset {found.dataset_id} were forgotten since it was built ({found.forgotten.text()}), so its "
            "files are not those of its manifest any more: build a new one with `factory dataset build`."
        )
    wrong = problems(folder)
    if read_manifest(folder) != found.manifest:
        wrong.append("manifest.json: it is not the one that the store remembers")
    if wrong:
        listed = "\n  ".join(wrong)
        raise InputError(
            f"Dataset {found.dataset_id} in {folder} is damaged:\n  {listed}\n"
            "Do not train on it; `factory dataset build` writes it again as long as the reviews are the same."
        )
    rows = {split.value: len(read_examples(folder, split)) for split in Split}
    return Verification(dataset_id=found.dataset_id, path=found.path, rows=rows)


def difference(engine: Engine, old: str, new: str | None = None) -> Difference:
    """What changed from version `old` to version `new` (None: the newest).

    Raises:
        InputError: an id names no version.
    """
    one, other = version(engine, old), version(engine, new)
    query = select(ROW.c.example_id, ROW.c.split, ROW.c.interaction_id)
    with engine.connect() as connection:
        before, after = (
            {(row.split, row.example_id): row.interaction_id for row in connection.execute(query.where(chosen))}
            for chosen in (ROW.c.dataset_id == one.dataset_id, ROW.c.dataset_id == other.dataset_id)
        )
    names = sorted({*one.manifest.settings, *other.manifest.settings})
    pairs = {name: (one.manifest.settings.get(name), other.manifest.settings.get(name)) for name in names}
    return Difference(
        old=one.dataset_id,
        new=other.dataset_id,
        added={side.value: sum(key[0] == side for key in after.keys() - before.keys()) for side in Split},
        removed={side.value: sum(key[0] == side for key in before.keys() - after.keys()) for side in Split},
        added_records=_only_in(after, before),
        removed_records=_only_in(before, after),
        settings={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
    )


def datasets_frame(engine: Engine) -> "pd.DataFrame":
    """One row a dataset version, newest first: id, time, folder, and rows by split and kind."""
    import pandas as pd

    rows = [
        {"dataset_id": each.dataset_id, "created_at": each.created_at, "path": each.path}
        | {
            f"{split.value}_{kind.value}": each.manifest.counts.get(split, {}).get(kind, 0)
            for split in Split
            for kind in ExampleKind
        }
        | {"held_back": sum(each.manifest.held_back.values())}
        for each in versions(engine).versions
    ]
    return pd.DataFrame(rows)


def _only_in(one: Mapping[tuple[str, str], str | None], other: Mapping[tuple[str, str], str | None]) -> tuple[str, ...]:
    return tuple(sorted({each for each in one.values() if each} - {each for each in other.values() if each}))
