"""Rows to token ids, fitted to the length budget by shortening passages; the answer is never cut.

A trainer that truncates keeps the start of a row: it would cut answers off and drop what has no
answer left, silently. So rows are fitted here, and whoever does not fit is refused by name.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from logs_schema.errors import ConfigurationError
from logs_schema.examples import TrainingExample
from logs_schema.records import Message, Value

_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?]+[\"')\]]*|\n|$)\s*")
_WORD = re.compile(r"\w{4,}|\d+")
"""What tells where an answer comes from: longer words, and numbers."""
_MARK = re.compile(r"\[[\d\s,;]+\]")
SHORTEST_PASSAGE = 40
"""Characters: a shorter text may stand in a prompt by chance, and is left alone."""


class TokenRow(Value):
    """One row as the trainer takes it."""

    example_id: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """The answer and the end-of-turn token: the only tokens with a loss."""
    shortened: bool
    """Whether sentences of its passages were left out."""


class FittedRows(Value):
    """What came of the rows of one split."""

    rows: tuple[TokenRow, ...]
    refused: tuple[str, ...]
    """Ids of examples that do not fit even with shortened passages."""

    @property
    def shortened(self) -> int:
        """Rows whose passages were shortened."""
        return sum(row.shortened for row in self.rows)


def prompt_text(tokenizer: Any, prompt: Sequence[Message]) -> str:
    """The conversation as the model's chat template renders it, up to where the answer begins.

    Raises:
        ConfigurationError: the template refuses these messages.
    """
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            [message.model_dump() for message in prompt], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in prompt)
        raise ConfigurationError(
            f"The base model's chat template refuses messages of the roles {roles} ({error}): "
            "choose another base model."
        ) from error
    return text


def completion_text(tokenizer: Any, prompt: Sequence[Message], completion: str) -> str:
    """The answer with what ends a turn in the model's chat template.

    Raises:
        ConfigurationError: the template renders a prompt differently once it has an answer.
    """
    start = prompt_text(tokenizer, prompt)
    turns = [message.model_dump() for message in (*prompt, Message(role="assistant", content=completion))]
    whole: str = tokenizer.apply_chat_template(turns, tokenize=False)
    if not whole.startswith(start):
        raise ConfigurationError(
            "The base model's chat template renders a prompt differently when an answer follows, "
            "so training would not show what serving shows: choose another base model."
        )
    return whole[len(start) :].rstrip()


def invocation(tokenizer: Any) -> tuple[int, ...]:
    """Token ids with which the model's chat template opens an answer: what invokes an activated adapter.

    Raises:
        ConfigurationError: the template opens answers with nothing of their own.
    """
    question = [{"role": "user", "content": "?"}]
    closed = tokenizer.apply_chat_template(question, tokenize=False)
    opened = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    if not opened.startswith(closed) or opened == closed:
        raise ConfigurationError(
            '[training] method = "activated": the base model\'s chat template has no opening of answers '
            'that could invoke an adapter; use "lora".'
        )
    return encode(tokenizer, opened[len(closed) :])


def encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids without special tokens added: the chat template has written them already."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def fit(tokenizer: Any, examples: Sequence[TrainingExample], max_length: int) -> FittedRows:
    """Every example within `max_length` tokens of prompt and answer, or refused by name.

    Sentences leave from distractors first, the last passage first and its end first; then from evidence
    passages, but none that shares a number or a word of four letters or more with the answer; and last the opening
    sentences of distractors. Passages keep their numbers, so citations stay right.
    """
    rows: list[TokenRow] = []
    refused: list[str] = []
    for example in examples:
        row = _fit_one(tokenizer, example, max_length)
        if row is None:
            refused.append(example.example_id)
        else:
            rows.append(row)
    return FittedRows(rows=tuple(rows), refused=tuple(refused))


def _fit_one(tokenizer: Any, example: TrainingExample, max_length: int) -> TokenRow | None:
    completion = encode(tokenizer, completion_text(tokenizer, example.prompt, example.completion))
    prompt = encode(tokenizer, prompt_text(tokenizer, example.prompt))
    excess = len(prompt) + len(completion) - max_length
    removed: set[tuple[int, int]] = set()
    places = _places(example) if excess > 0 else {}
    expendable = _expendable(example, places)
    while excess > 0:
        if not expendable:
            return None
        while excess > 0 and expendable:
            rank, number, sentence = expendable.pop(0)
            removed.add((rank, number))
            excess -= len(encode(tokenizer, sentence))
        prompt = encode(tokenizer, prompt_text(tokenizer, _without(example, places, removed)))
        excess = len(prompt) + len(completion) - max_length
    return TokenRow(
        example_id=example.example_id, prompt_ids=prompt, completion_ids=completion, shortened=bool(removed)
    )


def _places(example: TrainingExample) -> dict[int, int]:
    """Rank → where the passage begins in the last message, of passages that stand there word for word and once."""
    content = example.prompt[-1].content if example.prompt else ""
    return {
        rank: content.index(context.text)
        for rank, context in enumerate(example.contexts)
        if len(context.text) >= SHORTEST_PASSAGE and content.count(context.text) == 1
    }


def _expendable(example: TrainingExample, ranks: Iterable[int]) -> list[tuple[int, int, str]]:
    """(rank, sentence number, sentence) in the order in which they may leave."""
    answer = _telling(_MARK.sub(" ", example.completion))
    distractors: list[tuple[int, int, str]] = []
    evidence: list[tuple[int, int, str]] = []
    openings: list[tuple[int, int, str]] = []
    for rank in sorted(ranks, reverse=True):
        sentences = list(enumerate(_sentences(example.contexts[rank].text)))
        if rank not in example.evidence_ranks:
            distractors += [(rank, number, sentence) for number, sentence in reversed(sentences) if number]
            openings += [(rank, number, sentence) for number, sentence in sentences[:1]]
        elif answer & _telling(example.contexts[rank].text):
            # Without a sentence known to hold the answer the passage stays whole: an answer without its
            # evidence would teach to make things up.
            evidence += [(rank, number, s) for number, s in reversed(sentences) if not answer & _telling(s)]
    return distractors + evidence + openings


def _telling(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _without(example: TrainingExample, places: dict[int, int], removed: set[tuple[int, int]]) -> tuple[Message, ...]:
    last = example.prompt[-1]
    content = last.content
    for rank, start in sorted(places.items(), key=lambda place: -place[1]):
        text = example.contexts[rank].text
        kept = [part for number, part in enumerate(_sentences(text)) if (rank, number) not in removed]
        shorter = "".join(kept)
        content = content[:start] + (text if shorter == text else shorter.strip()) + content[start + len(text) :]
    return (*example.prompt[:-1], Message(role=last.role, content=content))


def _sentences(text: str) -> list[str]:
    """Sentences with the space after them; joined they are the text again."""
    return [match.group() for match in _SENTENCE.finditer(text) if match.group()]
