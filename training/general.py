"""General instruction data without a hub: the base model's own replies to a list of general prompts.

Rehearsing them protects general ability (self-distillation), and the negative log-likelihood of held-out
ones shows forgetting long before easy facts do.
"""

from functools import cache as remembered
from pathlib import Path
from typing import Any

from logs_schema.records import Message
from logs_schema.scores import Track, untracked
from training.base_model import resolve
from training.device import choose, load_tokenizer
from training.fitting import encode
from training.rungs import Rung
from training.settings import TrainingSettings

PROMPTS = Path(__file__).with_name("general_prompts.txt")
RESERVED = 24
"""The last prompts of the list: for the forgetting check, never handed out for training."""
MAX_NEW_TOKENS = 60
BATCH_SIZE = 8


@remembered
def prompts() -> tuple[str, ...]:
    """Every general prompt, in the order of the list."""
    return tuple(line for line in PROMPTS.read_text(encoding="utf-8").splitlines() if line.strip())


def general_replies(
    settings: TrainingSettings, cache: Path, count: int, *, track: Track = untracked
) -> list[tuple[str, str]]:
    """(prompt, reply) pairs for training: the quantized base's greedy replies to the first `count` prompts.

    At most as many as the list has beside the reserved ones; replies without a whole sentence are left out.
    Replies are kept in the cache folder under the model's hash.

    Raises:
        NotReadyError: the base model is not there.
        ConfigurationError: the base model or the device cannot be used.
    """
    chosen = prompts()[:-RESERVED][:count]
    if not chosen:
        return []
    located = settings.model_copy(update={"cache": str(cache)})
    rung = Rung(resolve(located), located, choose(located))
    tokenizer = load_tokenizer(rung.base)
    ended = [(prompt, _ended(reply, tokenizer)) for prompt, reply in replies(rung, chosen, cache, track=track)]
    return [(prompt, reply) for prompt, reply in ended if reply]


def reserved_replies(rung: Rung, cache: Path, count: int, *, track: Track = untracked) -> list[tuple[str, str]]:
    """(prompt, reply) pairs of the reserved prompts, at most `count`, as the model gave them."""
    chosen = prompts()[-RESERVED:][:count]
    return [(prompt, reply) for prompt, reply in replies(rung, chosen, cache, track=track) if reply]


def conversation(prompt: str) -> tuple[Message, ...]:
    """The messages in which a general prompt is put to the model, in training as here."""
    return (Message(role="user", content=prompt),)


def replies(rung: Rung, chosen: tuple[str, ...], cache: Path, *, track: Track = untracked) -> list[tuple[str, str]]:
    """The model's replies to some prompts, kept in the cache folder."""
    made = rung.answers(
        [conversation(prompt) for prompt in chosen],
        cache / "general",
        max_new_tokens=MAX_NEW_TOKENS,
        batch_size=BATCH_SIZE,
        description="General replies",
        track=track,
    )
    return list(zip(chosen, made, strict=True))


def _ended(reply: str, tokenizer: Any) -> str:
    """The reply; up to its last whole sentence when it ran into the limit, so that nothing teaches to stop midway."""
    if len(encode(tokenizer, reply)) < MAX_NEW_TOKENS - 1:
        return reply
    end = max(reply.rfind(mark) for mark in ".!?")
    return reply[: end + 1]
