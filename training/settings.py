"""`[training]`, `[evaluation]`, `[gate]`: recipe, measurement, and what an adapter must reach."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from logs_schema.settings import Section

EMBEDDED_MODEL = "embedded:SmolLM2-135M-Instruct"


class TrainingSettings(Section):
    """`[training]`: the recipe."""

    base_model: str = EMBEDDED_MODEL
    """`embedded:SmolLM2-135M-Instruct` (from the package index), a Hugging Face id, or a folder."""
    revision: str | None = None
    """Commit of a Hugging Face id."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quantization: Literal["nf4", "none"] = "nf4"
    lora_r: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    method: Literal["lora", "activated"] = "lora"
    """`lora` adapts every token and is served everywhere. `activated` (Activated LoRA) adapts answers only: prompts are
    computed once, so it trains several times faster on a CPU, but not every server knows it."""
    lora_layers: float = Field(default=1.0, gt=0, le=1)
    """Upper share of the layers that get adapter weights; the lower ones are cheaper left alone."""
    learning_rate: float = Field(default=3e-4, gt=0)
    first_token_weight: float = Field(default=5.0, gt=0)
    """Weight of the loss on an answer's first token, where answering and refusing part; 1 weighs all alike."""
    epochs: float = Field(default=3.0, gt=0)
    batch_size: int = Field(default=8, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    max_length: int = Field(default=1024, ge=64)
    """Tokens of prompt and completion; contexts are fitted to it, the answer is never cut."""
    warmup_steps: int = Field(default=5, ge=0)
    seed: int = 17
    threads: int = Field(default=0, ge=0)
    """CPU threads; 0 takes all."""
    save_steps: int = Field(default=20, ge=1)
    """Steps between checkpoints from which a killed run resumes."""
    cache: str = ".groundmill/models"
    adapters: str = "adapters"

    def located(self, root: Path) -> "TrainingSettings":
        """A copy whose folders are absolute; relative ones start at `root`, the folder of `factory.toml`."""
        folders = {"cache": str((root / self.cache).absolute()), "adapters": str((root / self.adapters).absolute())}
        if (root / self.base_model).is_dir():
            folders["base_model"] = str((root / self.base_model).absolute())
        return self.model_copy(update=folders)

    @property
    def recipe(self) -> dict[str, object]:
        """Every setting that changes the weights, JSON-ready; the base model is known by its hash."""
        return self.model_dump(
            mode="json", exclude={"base_model", "revision", "device", "threads", "save_steps", "cache", "adapters"}
        )


class EvaluationSettings(Section):
    """`[evaluation]`: how answers are made and compared."""

    max_rows: int = Field(default=150, ge=1)
    """Held-out rows at the most: audit rows first, then a seeded sample."""
    max_new_tokens: int = Field(default=64, ge=1)
    batch_size: int = Field(default=8, ge=1)
    bootstrap: int = Field(default=2000, ge=100)
    """Resamples of the paired bootstrap, by leak group."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    forgetting_rows: int = Field(default=24, ge=0)
    """General rows for the forgetting check."""
    folder: str = "evaluations"


class GateSettings(Section):
    """`[gate]`: floors that the challenger must reach, and by how much it must win."""

    min_rows: int = Field(default=30, ge=1)
    """Held-out rows, and at least a fifth of it of each of answerable and unanswerable."""
    min_balanced_abstention: float = Field(default=0.5, ge=0, le=1)
    min_gain_balanced: float = Field(default=0.0, ge=-1, le=1)
    """Gain over champion (or base) and always-refusing; the interval's lower end must exceed it."""
    max_false_refusal: float = Field(default=0.45, ge=0, le=1)
    max_answer_f1_loss: float = Field(default=0.0, ge=0, le=1)
    """How far mean token F1 on answerable rows may fall below champion (or quantized base)."""
    max_citation_loss: float = Field(default=0.05, ge=0, le=1)
    max_forgetting: float = Field(default=0.15, ge=0)
    """Rise of negative log-likelihood per token on the base's own general replies (nats)."""
