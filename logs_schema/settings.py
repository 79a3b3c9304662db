"""Settings that every package shares: the store, private data, and the rules of the house."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """A frozen section of `factory.toml` that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StoreSettings(Section):
    """`[store]`: where logs and everything learned from them are kept."""

    url: str = "sqlite:///groundmill.db"
    """SQLAlchemy URL; a relative SQLite path is relative to the folder of `factory.toml`."""


class ImportSettings(Section):
    """`[imports]`: where production logs come from."""

    files: tuple[str, ...] = ("logs/*.jsonl",)
    """Glob patterns, relative to the folder of `factory.toml`, that `factory nightly` imports."""
    format: str = "auto"
    """What `factory import --format` takes; auto recognises each file by its first lines."""
    chunks: tuple[str, ...] = ()
    """Chunk stores (files or glob patterns) that every import takes the texts of contexts from which were logged by id
    alone."""
    source: str = Field(default="production", min_length=1, max_length=100)
    """Name of the application, when a log line does not give one."""
    workers: int = Field(default=1, ge=0, le=64)
    """Processes that read lines (personal data replaced) ahead of the one that writes them, when there are more than
    some 2,000; 0: none. The result is the same with any."""

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        from logs_schema.importers.formats import NAMES

        if name not in NAMES:
            raise ValueError(f"is not one of {', '.join(NAMES)}")
        return name


class PiiSettings(Section):
    """`[pii]`: personal data that is replaced by placeholders at import, before anything is stored."""

    enabled: bool = True
    entities: tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Z_]+$")], ...] = (
        "EMAIL_ADDRESS",
        "PHONE_NUMBER",
        "CREDIT_CARD",
        "IBAN_CODE",
        "IP_ADDRESS",
    )
    """What is replaced. Others, such as `US_SSN` or `UK_NHS`, need `pip install groundmill[pii]`.
    `PERSON`, `LOCATION`, `ORGANIZATION` and `NRP` also need `models`."""
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2}$")], ...] = Field(default=("en",), min_length=1)
    """Languages of the texts: they say in which countries a telephone number without + is looked up."""
    regions: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = ()
    """Countries whose telephone numbers are known without +, such as `"US"`; empty: those of the languages."""
    models: dict[str, str] = Field(default_factory=dict)
    """Language → an installed spaCy package, or a folder, that finds names: `{ en = "en_core_web_sm" }`."""
    allow: tuple[str, ...] = ()
    """Kept as they are: whole values, or a domain such as `"@shop.example"`."""


class HouseSettings(Section):
    """`[house]`: rules that miner, curators, dataset, metrics and prompts share."""

    abstention: str = Field(default="I don't know based on the provided context.", min_length=3)
    """The one wording of "I don't know" that is taught and expected."""
    guidelines_version: str = Field(default="1", min_length=1)
    """Raise it when the guidelines for curators change: reviews made under another are held back."""
    system_prompt: str = (
        "You answer questions from the numbered context passages only. Cite the passage that you use like [1]. "
        "If the passages do not hold the answer, say that you don't know."
    )
    """Used where the logs do not show which prompt production used."""
