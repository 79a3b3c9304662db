"""Loading the model that `[mining.model]` names, and telling which of its labels means "supported"."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from factory.mining.settings import ModelSettings
from logs_schema.errors import ConfigurationError, NotReadyError
from training.quiet import quiet

if TYPE_CHECKING:
    import torch

LONGEST = 4096
"""Tokens of a window at most, when the settings say nothing: what LettuceDetect was trained with."""
SUPPORTED = frozenset(
    {"supported", "support", "supports", "entailment", "entailed", "consistent", "faithful", "factual", "grounded", "o"}
)
UNSUPPORTED = frozenset(
    {
        *("unsupported", "notsupported", "notentailment", "hallucinated", "hallucination", "inconsistent"),
        *("unfaithful", "nonfactual", "ungrounded"),
    }
)


class Loaded(NamedTuple):
    """A model that is ready to run."""

    tokenizer: Any
    model: Any
    kind: Literal["token", "sequence"]
    label: int | None
    """The label that means "supported"; None: a single output, whose sigmoid it is."""
    window: int
    """Tokens of a window at most."""
    batch: int
    device: str

    def __hash__(self) -> int:
        """By identity, so that what is kept by text is kept for this model."""
        return id(self.model)

    def supported(self, logits: "torch.Tensor") -> "torch.Tensor":
        """Probability of being supported, on the CPU: (windows,), or (windows, tokens)."""
        found = logits[..., 0].sigmoid() if self.label is None else logits.softmax(-1)[..., self.label]
        return found.float().cpu()


def load(settings: ModelSettings) -> Loaded:
    """Load model and tokenizer, without ever running code that comes with them.

    Raises:
        NotReadyError: torch or transformers is not installed.
        ConfigurationError: there is no such model, it is of another kind, or its labels are not known.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise NotReadyError(
            "[mining.model] needs torch and transformers: run pip install 'groundmill[model]', or leave name empty."
        ) from error
    name = settings.name
    if (name.startswith((".", "/", "~")) or name.count("/") > 1) and not Path(name).is_dir():
        raise ConfigurationError(f"[mining.model] name: there is no folder {name!r}.")
    device = _device(settings, torch.cuda.is_available())
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
            kind = _kind(settings, config)
            label = _label(settings, config, kind)
            tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            auto: Any = (
                transformers.AutoModelForTokenClassification
                if kind == "token"
                else transformers.AutoModelForSequenceClassification
            )
            safe = {"trust_remote_code": False, "use_safetensors": True}
            model, found = auto.from_pretrained(
                name, config=config, dtype=torch.float32, output_loading_info=True, **safe
            )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"[mining.model] name: {name!r} cannot be used ({reason}). It must be a folder, or an id on the hub, of a "
            "token or sequence classifier in safetensors that transformers knows without remote code."
        ) from error
    if found["missing_keys"]:  # transformers would go on with random weights
        raise ConfigurationError(f"[mining.model] name: {name!r} was not trained as a {kind} classifier.")
    if not tokenizer.is_fast:
        raise ConfigurationError(f"[mining.model] name: {name!r} has no fast tokenizer (tokenizer.json).")
    window = _window(settings, config, tokenizer)
    return Loaded(tokenizer, model.to(device).eval(), kind, label, window, settings.batch, device)


def _kind(settings: ModelSettings, config: Any) -> Literal["token", "sequence"]:
    if settings.kind != "auto":
        return settings.kind
    made = " ".join(config.architectures or ())
    if "ForTokenClassification" in made:
        return "token"
    if "ForSequenceClassification" in made:
        return "sequence"
    raise ConfigurationError(
        f"[mining.model] name: {settings.name!r} is a {made or 'model of unknown kind'}, neither a token nor a "
        'sequence classifier. If it is one, say so with kind = "token" or "sequence".'
    )


def _label(settings: ModelSettings, config: Any, kind: str) -> int | None:
    names = {number: re.sub(r"[^a-z0-9]", "", str(name).casefold()) for number, name in config.id2label.items()}
    wanted = settings.supported_label
    if wanted is not None:
        meant = re.sub(r"[^a-z0-9]", "", wanted.casefold())
        found = [number for number, name in names.items() if name == meant or str(number) == meant]
    elif len(names) == 1:
        return None
    else:
        found = [number for number, name in names.items() if name in SUPPORTED]
        bad = [number for number, name in names.items() if name in UNSUPPORTED]
        if not found and len(names) == 2 and len(bad) == 1:
            found = [1 - bad[0]]
        if not found and set(names.values()) == {"label0", "label1"}:
            # the convention of both families: 1 marks a hallucinated token, and a supported claim
            found = [0 if kind == "token" else 1]
    if len(found) != 1:
        listed = ", ".join(f"{number} ({name})" for number, name in config.id2label.items())
        raise ConfigurationError(
            f"[mining.model] supported_label: which label of {settings.name!r} means that the passages support the "
            f"answer? Choose from {listed}."
        )
    return int(found[0])


def _window(settings: ModelSettings, config: Any, tokenizer: Any) -> int:
    # two less: RoBERTa counts positions from the padding token's on
    positions = getattr(config, "max_position_embeddings", LONGEST + 2) - 2
    most = min(tokenizer.model_max_length, positions if positions > 0 else LONGEST)
    return int(min(settings.max_tokens or LONGEST, most))


def _device(settings: ModelSettings, cuda: bool) -> str:
    if settings.device == "cuda" and not cuda:
        raise ConfigurationError(
            '[mining.model] device = "cuda", but this machine shows no CUDA device: set it to "auto" or "cpu".'
        )
    return "cuda" if cuda and settings.device != "cpu" else "cpu"
