"""`[dataset]`: composition of the training data."""

from pydantic import Field, model_validator

from logs_schema.settings import Section


class DatasetSettings(Section):
    """`[dataset]`: what a dataset version is made of."""

    folder: str = "datasets"
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the answerable and of the unanswerable questions that is held out for testing, audit rows included."""
    validation_share: float = Field(default=0.08, ge=0, lt=1)
    unanswerable_share: float = Field(default=0.3, ge=0, lt=1)
    """Share of abstention rows among training rows; more teaches a small model to refuse everything."""
    evidence_removed_share: float = Field(default=0.15, ge=0, le=1)
    """Up to this part of the abstention rows are answerable questions without their evidence. Questions that people
    found unanswerable teach a small model better."""
    general_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of general instruction rows, which protect general ability."""
    distractors: int = Field(default=2, ge=0)
    """Passages beside the evidence, first from what was really retrieved."""
    grounded: float = Field(default=0.5, ge=0, le=1)
    """An ideal answer supported less than this by its context is refused (no knowledge injection)."""
    near_duplicate: float = Field(default=0.7, gt=0, le=1)
    """Jaccard similarity of word sets from which two questions share a leak group."""
    allowed_groups: tuple[str, ...] | None = None
    """Groups that every user of the model belongs to; contexts restricted to others are refused. None: no check."""
    min_rows: int = Field(default=20, ge=1)
    """Fewer training rows than this are not worth a dataset."""
    seed: int = 17

    @model_validator(mode="after")
    def _shares_leave_room(self) -> "DatasetSettings":
        if self.unanswerable_share + self.general_share >= 1:
            raise ValueError("unanswerable_share and general_share must leave room for answers: their sum is below 1")
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share must leave room for training: their sum is below 1")
        return self
