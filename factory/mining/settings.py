"""`[mining]`: thresholds of the rules, the optional stages, and the review budget."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from logs_schema.settings import Section


class SignalSettings(Section):
    """`[signals]`: what is read off sessions as implicit feedback."""

    window_minutes: float = Field(default=10.0, gt=0, le=1440)
    """A question asked again within it is a complaint; a session with nothing more within it has ended."""
    rephrase_similarity: float = Field(default=0.6, gt=0, le=1)
    """Shared content words over all content words, from which on two questions count as nearly the same."""
    escalation_tags: tuple[str, ...] = ("escalated", "escalation", "handoff", "human_handoff")
    """Tags of a record that say that a person had to take over; case does not matter."""


class ModelSettings(Section):
    """`[mining.model]`: a groundedness model that looks at what the cheaper stages leave unsettled."""

    name: str = ""
    """Folder, or id on the Hugging Face hub, of a token classifier (LettuceDetect) or a sequence classifier over
    (premise, claim) pairs (MiniCheck, HHEM, NLI); empty: no such stage. Safetensors only, and no remote code."""
    kind: Literal["auto", "token", "sequence"] = "auto"
    """What it classifies; auto reads it off the model's configuration."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """From this probability of being supported on, the model takes a sentence for supported."""
    supported_label: str | None = None
    """Name or number of the label that means "supported", when its name does not tell."""
    batch: int = Field(default=16, ge=1)
    """Windows in one forward pass."""
    max_tokens: int | None = Field(default=None, ge=128)
    """Tokens of a window at most; not set: what the model can take, at most 4096. Longer contexts are split."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


class JudgeSettings(Section):
    """`[mining.judge]`: a language model that is asked about what all other stages leave unsettled."""

    base_url: str = ""
    """Of an OpenAI-compatible endpoint, such as `http://localhost:8000/v1`; empty: nobody is asked. It is sent
    questions, passages and answers. Its key, when it wants one, is `$FACTORY_JUDGE_API_KEY`."""
    model: str = ""
    """Name of the model there."""
    max_requests: int = Field(default=1000, ge=1)
    """Requests of one run at most, repeated ones included; the rest stays unsettled until the next run."""
    max_tokens: int = Field(default=2_000_000, ge=1)
    """Tokens of one run at most, sent and received."""
    max_output_tokens: int = Field(default=800, ge=100)
    """Tokens of one reply at most."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Requests at a time."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    retries: int = Field(default=4, ge=0, le=10)
    """How often a request is repeated when the endpoint is busy, broken or silent."""

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url

    @model_validator(mode="after")
    def _complete(self) -> "JudgeSettings":
        if bool(self.base_url) is not bool(self.model):
            raise ValueError("base_url and model go together: give both, or neither")
        return self


class MiningSettings(Section):
    """`[mining]`. Thresholds do not transfer between deployments: look at `factory findings` and set yours."""

    faithful: float = Field(default=0.5, ge=0, le=1)
    """Below it a response counts as not supported by its contexts."""
    sufficient: float = Field(default=0.5, ge=0, le=1)
    """From it on the contexts count as holding the answer."""
    encoder: str = ""
    """Sentence encoder that compares meanings beside words (needs `groundmill[encoder]`): `minilm`, which is packaged,
    or the id or folder of another. Empty: words alone."""
    incomplete: float = Field(default=0.2, ge=0, le=1)
    """Below this completeness a faithful response counts as leaving out what the context holds."""
    much_better: float = Field(default=0.15, ge=0, le=1)
    """A passage of the documents feed that covers a question by this much more than what was retrieved (and
    sufficiently) makes it a `retrieval_miss`."""
    uncovered: float = Field(default=0.3, gt=0, le=1)
    """Below this coverage by the best passage of the documents feed a question is a `knowledge_gap`."""
    unsettled: float = Field(default=0.15, ge=0, le=1)
    """Scores nearer than this to their threshold are unsettled: the optional stages look at those records, and an
    explicit complaint about one sends it to review."""
    workers: int = Field(default=1, ge=1, le=256)
    """Processes that judge records; each searches the corpus with an index of its own."""
    citations: bool = True
    """Whether answers must cite their passages as [n]."""
    format_regex: str | None = None
    """A response that does not match it (search, dot matches newline) is `bad_format`."""
    format_schema: str | None = None
    """Text of a JSON Schema: a response that is not JSON, or does not keep to it, is `bad_format`. It may refer to
    nothing outside itself."""
    budget: int = Field(default=200, ge=1)
    """Records that may wait for review at a time."""
    audit_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the budget that is uniformly random, unseen by the miner, never trained on."""
    shares: dict[str, float] = Field(
        default_factory=lambda: {
            "unfaithful": 0.3,
            "over_refusal": 0.1,
            "incomplete": 0.1,
            "bad_citation": 0.15,
            "bad_format": 0.05,
            "missing_abstention": 0.2,
            "ticket": 0.1,
        }
    )
    """Share of the rest per failure, and of resolved tickets; what one does not use goes to the others, in this
    order."""
    per_user: int = Field(default=20, ge=1)
    """Records of one user that may be queued at a time, so that nobody can flood the queue."""
    per_session: int = Field(default=5, ge=1)
    """Records of one session that may be queued at a time."""
    near_duplicate: float = Field(default=0.7, gt=0, le=1)
    """Jaccard similarity of content words from which on two questions take one place in the queue."""
    seed: int = 17
    model: ModelSettings = ModelSettings()
    judge: JudgeSettings = JudgeSettings()

    @field_validator("format_regex")
    @classmethod
    def _is_regex(cls, pattern: str | None) -> str | None:
        import re

        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return pattern

    @field_validator("format_schema")
    @classmethod
    def _is_schema(cls, text: str | None) -> str | None:
        from factory.mining.format import schema_validator

        try:
            if text is not None:
                schema_validator(text)
        except ValueError as error:
            raise ValueError(f"is not a JSON Schema: {error}") from error
        return text

    @field_validator("shares")
    @classmethod
    def _shares_are_known(cls, shares: dict[str, float]) -> dict[str, float]:
        from logs_schema.taxonomy import ROUTES, Failure, QueueReason, Route

        reviewable = {failure.value for failure in Failure if ROUTES[failure] is Route.behaviour}
        reviewable.add(QueueReason.ticket.value)
        if unknown := sorted(set(shares) - reviewable):
            are = "is" if len(unknown) == 1 else "are"
            raise ValueError(f"{', '.join(unknown)} {are} not reviewable; choose from {', '.join(sorted(reviewable))}")
        if any(share < 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
            raise ValueError("must be 0 or more and sum to at most 1")
        return shares
