"""What importing files did, file by file."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from logs_schema.coverage import Coverage, percent
from logs_schema.errors import InputError
from logs_schema.importers.read import Line
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.texts import TextsReport
from logs_schema.pii.replace import Cleaner, replaced_text
from logs_schema.records import Value
from logs_schema.visible import visible
from logs_schema.wording import counted

UNKNOWN = "unknown"
"""Format of a file that was set aside."""


class FileReport(Value):
    """What importing one file did."""

    file: str
    format: str
    read: int
    """Lines, blank ones not counted."""
    new: int
    """Records that were not in the store."""
    updated: int
    """Records whose content (feedback included) changed."""
    unchanged: int
    rejected: int
    """Lines that could not be used."""
    forgotten: int = 0
    """Records that were left out because they had been forgotten."""
    waiting: int | None = None
    """Of a feedback file: events, new or not, whose trace is not in the store. None for other files."""
    rejects: str | None = None
    """File that holds the rejected lines with the reasons."""
    problem: str | None = None
    """Why the whole file was set aside; None when it was read."""

    def unusable(self, rows: str, what: str) -> str | None:
        """A sentence on a file of which nothing could be used; None for any other.

        Args:
            rows: what its lines are called.
            what: what they were taken for.
        """
        if self.problem or not self.read or self.rejected < self.read:
            return self.problem
        where = f": their reasons are in {self.rejects}" if self.rejects else ""
        if self.read == 1:
            return f"The one {rows.removesuffix('s')} of {self.file} could not be used as {what}{where}."
        return f"None of the {self.read:,} {rows} of {self.file} could be used as {what}{where}."

    def aside(self) -> list[str]:
        """Lines for people on a file that was set aside."""
        told = [f"{self.file}: set aside, nothing of it was imported", f"  {self.problem}"]
        return [*told, f"  the reason is also in {self.rejects}"] if self.rejects else told


class ImportReport(Value):
    """What an import did."""

    files: tuple[FileReport, ...]
    texts: tuple[TextsReport, ...] = ()
    """What chunk stores gave to contexts without text."""
    pending: int
    """Traces in the store that wait for spans before they become a record."""
    coverage: Coverage
    """What the records of these files hold."""
    replaced: dict[str, int] = Field(default_factory=dict)
    """Kind of personal data → placeholders put in its place."""
    seconds: float

    def problem(self) -> str | None:
        """What to say of files of which nothing could be used; None when there are none."""
        return problem_of([file.unusable("lines", file.format) for file in self.files])

    def text(self) -> str:
        """Plain text for a terminal."""
        lines = []
        for file in self.files:
            if file.problem:
                lines += file.aside()
                continue
            lines.append(
                f"{file.file}: {file.format}, {counted(file.read, 'line')}: {counted(file.new, 'new record')}, "
                f"{file.updated:,} updated, {file.unchanged:,} unchanged, {counted(file.rejected, 'line')} rejected"
            )
            if file.forgotten:
                forgotten = counted(file.forgotten, "record was", "records were")
                lines.append(f"  {forgotten} forgotten earlier and left out")
            if file.rejects:
                lines.append(f"  rejected lines and reasons: {file.rejects}")
        lines += [given.text() for given in self.texts]
        held = self.coverage
        lines.append(
            f"Of {counted(held.records, 'record')}: {percent(held.with_feedback, held.records)} with feedback, "
            f"{percent(held.with_prompt, held.records)} with a known prompt; "
            f"of {counted(held.contexts, 'context')}: {percent(held.contexts_with_text, held.contexts)} with text."
        )
        lines += [f"  {lack}" for lack in held.lacks()]
        lines += replaced_text(self.replaced)
        if self.pending:
            waiting = counted(self.pending, "trace waits for the rest of its", "traces wait for the rest of their")
            lines.append(f"{waiting} spans.")
        read = sum(file.read for file in self.files)
        lines.append(f"{counted(read, 'line')} in {self.seconds:.1f} s.")
        return "\n".join(lines)


class FeedReport(Value):
    """What importing files of a feed did."""

    what: str
    """What `new`, `updated` and `unchanged` count, such as `feedback events`."""
    files: tuple[FileReport, ...]
    replaced: dict[str, int] = Field(default_factory=dict)
    """Kind of personal data → placeholders put in its place."""

    def problem(self) -> str | None:
        """What to say of files of which nothing could be used; None when there are none."""
        return problem_of([file.unusable("rows", self.what) for file in self.files])

    def text(self) -> str:
        """Some lines for each file."""
        one = self.what.removesuffix("s")
        lines = []
        for file in self.files:
            if file.problem:
                lines += file.aside()
                continue
            lines.append(
                f"{file.file}: {counted(file.read, 'row')}: {counted(file.new, f'new {one}')}, "
                f"{file.updated:,} updated, {file.unchanged:,} unchanged, {counted(file.rejected, 'row')} rejected"
            )
            kept = file.new + file.updated + file.unchanged
            if file.waiting is not None:
                about = counted(kept - file.waiting, "is about a stored record", "are about stored records")
                wait = counted(file.waiting, "waits for its trace", "wait for their trace")
                lines.append(f"  {counted(kept, one)}: {about}, {wait}")
            if file.waiting and file.waiting == kept:
                lines.append(
                    "  if their log is imported already, their source or trace ids are other ones than the log's"
                )
            if file.forgotten:
                left_out = counted(file.forgotten, "was left out, for it was", "were left out, for they were")
                lines.append(f"  {left_out} forgotten earlier")
            if file.rejects:
                lines.append(f"  rejected rows and reasons: {file.rejects}")
        return "\n".join([*lines, *replaced_text(self.replaced)])


def set_aside(file: str, error: InputError, rejects: Path | None, clean: Cleaner | None) -> FileReport:
    """Keep the reason why nothing of a file can be read where those of lines are kept."""
    with Rejects(rejects, file, clean) as bad:
        bad.add(Line(0, None, None, ""), str(error))
    path = str(bad.path) if bad.path else None
    none = dict.fromkeys(("read", "new", "updated", "unchanged", "rejected"), 0)
    return FileReport(file=visible(file), format=UNKNOWN, rejects=path, problem=visible(str(error)), **none)


def problem_of(told: Sequence[str | None]) -> str | None:
    """The first sentence, and how many more files there are."""
    sentences = [sentence for sentence in told if sentence]
    if len(sentences) < 2:
        return next(iter(sentences), None)
    return f"{sentences[0]} Of {counted(len(sentences) - 1, 'more file')} nothing could be used either: see the report."
