"""The contract between the dataset builder and training: one example, and what a version holds."""

from pydantic import Field

from logs_schema.records import Context, Message, Value
from logs_schema.taxonomy import ExampleKind, Split


class TrainingExample(Value):
    """One row of a dataset version; a line of `train.jsonl`, `validation.jsonl` or `test.jsonl`."""

    example_id: str
    """Content hash of what is taught: 16 hexadecimal digits."""
    kind: ExampleKind
    split: Split
    prompt: tuple[Message, ...]
    """Messages as production renders them (system, history, user with contexts)."""
    completion: str
    """What the model must answer, citations included; for `test` rows the reference answer."""
    query: str
    contexts: tuple[Context, ...] = ()
    """The passages of the prompt, in its order; citation [n] is index n-1."""
    evidence_ranks: tuple[int, ...] = ()
    """Indices (from 0) of the contexts that hold the answer; empty for abstention."""
    answerable: bool | None = None
    """Whether the contexts hold the answer, as a person decided; None for general data."""
    production_response: str | None = None
    """What production answered in this very context; None when the contexts were changed."""
    record_id: str | None = None
    review_id: str | None = None
    audit: bool = False
    """From the audit slice: only ever in `test`."""
    group: str
    """Leak group: rows with the same group are on one side of the split."""
    draft_source: str | None = None
    """Where the curator's draft came from (`none`, `correction`, …); None for general data."""
    draft_similarity: float | None = None
    """0 to 1: how much of the draft the curator kept; None without a draft."""
    failure: str | None = None
    """Primary failure for which the record was flagged; None for audit and general rows."""


class DatasetManifest(Value):
    """What a dataset version holds and how it came about; `manifest.json` of its folder.

    Everything but `created_at` is covered by `dataset_id`.
    """

    dataset_id: str
    """Content hash over the files and settings: 16 hexadecimal digits."""
    created_at: str
    """ISO 8601, UTC; the one field that differs between two builds of the same data."""
    seed: int
    settings: dict[str, object]
    abstention: str
    """The house wording of "I don't know"."""
    guidelines_version: str
    prompt_hashes: tuple[str, ...]
    """Templates used in the rows, most frequent first."""
    counts: dict[str, dict[str, int]]
    """Split → kind → rows."""
    held_back: dict[str, int] = Field(default_factory=dict)
    """Reason → reviews that were left out."""
    files: dict[str, str]
    """File name → SHA-256 of its bytes."""
