"""A groundedness model as a stage: any Hugging Face token classifier, or sequence classifier over sentence pairs.

Token classifiers (LettuceDetect, arXiv:2502.17125) read question, passages and answer, and label each token of the
answer. Sequence classifiers (MiniCheck, arXiv:2404.10774; HHEM; NLI models) read a premise and one claim. Either way
a sentence counts by the window of the passages that supports it best, and a response by its worst sentence.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from factory.mining.abstention import read_abstention
from factory.mining.cascade import Stage, aligned
from factory.mining.citations import without_citations
from factory.mining.claims import MOST
from factory.mining.model_loading import Loaded, load
from factory.mining.settings import MiningSettings
from factory.mining.text import Sentence, content_words, sentences
from logs_schema.errors import FactoryError
from logs_schema.records import RagRecord
from logs_schema.scores import Evidence, Scores, Span
from logs_schema.settings import HouseSettings

if TYPE_CHECKING:
    import torch

QUESTION = (
    "Briefly answer the following question:\n{query}\nBear in mind that your response should be strictly based on the "
    "following {count} passages:\n{passages}\nIn case the passages do not contain the necessary information to answer "
    'the question, please reply with: "Unable to answer based on given passages."\noutput:'
)
"""What LettuceDetect was trained on (the question prompt of RAGTruth, arXiv:2401.00396)."""
SPARE = 8
"""Tokens kept free for special tokens, and for joints that tokenize longer together than apart."""


class Window(NamedTuple):
    """One forward pass: passages, and a part of the response."""

    record: int
    """Which record of the batch."""
    left: str
    right: str
    at: int
    """Where `right` stands in the response."""


def model_stage(settings: MiningSettings, house: HouseSettings) -> Stage:
    """The stage that `[mining.model]` asks for.

    Raises:
        NotReadyError: torch or transformers is not installed.
        ConfigurationError: the model cannot be loaded, or its labels do not tell which one means "supported".
    """
    model = load(settings.model)

    def score(records: Sequence[RagRecord]) -> list[Scores]:
        claims = [_claims(record, house) for record in records]
        supports = _supports(model, records, claims)
        return [
            _scores(places, found, settings)
            for places, found in zip(claims, (supports[n] for n in range(len(records))), strict=True)
        ]

    return Stage("model", score, frozenset({"faithfulness"}))


def _claims(record: RagRecord, house: HouseSettings) -> list[Sentence]:
    """The sentences that have to be supported: those that the scorer from words judges, too."""
    text = without_citations(record.response)
    abstention = read_abstention(record.response, house.abstention, record.query)
    places = abstention.claims if abstention.abstains else sentences(text)
    return [place for place in places[:MOST] if content_words(text[place.start : place.end])]


def _scores(places: Sequence[Sentence], supports: Sequence[float | None], settings: MiningSettings) -> Scores:
    evidence = []
    for place, support in zip(places, supports, strict=True):
        if support is None:
            continue
        score = round(aligned(support, settings.model.threshold, settings.faithful), 4)
        supported = score >= settings.faithful
        evidence.append(
            Evidence(
                kind="supported" if supported else "unsupported",
                note=f"the model takes it for {'' if supported else 'un'}supported",
                spans=(Span(where="response", start=place.start, end=place.end),),
                score=score,
            )
        )
    if not evidence:
        return Scores()
    return Scores(faithfulness=min(one.score for one in evidence if one.score is not None), evidence=tuple(evidence))


def _supports(
    model: Loaded, records: Sequence[RagRecord], claims: Sequence[Sequence[Sentence]]
) -> list[list[float | None]]:
    """Support of each claim of each record, 0 to 1; None when no token of it was read."""
    best: list[dict[tuple[int, int], float]] = [{} for _ in records]
    """Place in the response (of a token, or of a claim) → the best support in any window."""
    make = _token_windows if model.kind == "token" else _claim_windows
    windows = [window for n, record in enumerate(records) for window in make(model, n, record, claims[n])]
    for window, places in _run(model, windows):
        for start, end, support in places:
            key = (window.at + start, window.at + end)
            best[window.record][key] = max(support, best[window.record].get(key, 0.0))
    return [[_least(found, place) for place in places] for found, places in zip(best, claims, strict=True)]


def _least(found: dict[tuple[int, int], float], place: Sentence) -> float | None:
    within = [support for (start, end), support in found.items() if start < place.end and place.start < end]
    return min(within, default=None)


# --- windows --------------------------------------------------------------------------------------


def _token_windows(model: Loaded, n: int, record: RagRecord, claims: Sequence[Sentence]) -> Iterator[Window]:
    if not claims:
        return
    text = without_citations(record.response)
    query = next(_pieces(model, record.query, model.window // 4), (0, ""))[1]
    for at, part in _pieces(model, text[: claims[-1].end], model.window // 2):
        frame = QUESTION.format(query=query, count=len(record.contexts), passages="")
        room = model.window - _count(model, frame) - _count(model, part) - SPARE
        for passages in _packed(model, record, room):
            named = "\n".join(f"passage {number}: {passage}" for number, passage in enumerate(passages, 1))
            yield Window(n, QUESTION.format(query=query, count=len(passages), passages=named), part, at)


def _claim_windows(model: Loaded, n: int, record: RagRecord, claims: Sequence[Sentence]) -> Iterator[Window]:
    text = without_citations(record.response)
    for place in claims:
        at, claim = next(_pieces(model, text[place.start : place.end], model.window // 2))
        room = model.window - _count(model, claim) - SPARE
        for passages in _packed(model, record, room):
            yield Window(n, "\n".join(passages), claim, place.start + at)


def _packed(model: Loaded, record: RagRecord, room: int) -> Iterator[list[str]]:
    """The passages in lists that fit into `room` tokens, long ones split."""
    room = max(room, model.window // 8)
    taken: list[str] = []
    left = room
    for context in record.contexts:
        for _, piece in _pieces(model, context.text, room - SPARE):
            size = _count(model, piece) + SPARE  # each has a name before it
            if taken and size > left:
                yield taken
                taken, left = [], room
            taken.append(piece)
            left -= size
    if taken:
        yield taken


def _pieces(model: Loaded, text: str, most: int) -> Iterator[tuple[int, str]]:
    """(place, stretch) of a text in stretches of at most `most` tokens, cut between sentences where there is one."""
    offsets = _offsets(model, text)
    starts = {place.start for place in sentences(text)} if len(offsets) > most else set()
    first = 0
    while first < len(offsets):
        last = min(first + most, len(offsets))
        if last < len(offsets):
            last = next((n for n in range(last, first, -1) if offsets[n][0] in starts), last)
        yield offsets[first][0], text[offsets[first][0] : offsets[last - 1][1]]
        first = last


def _count(model: Loaded, text: str) -> int:
    return len(_offsets(model, text))


@lru_cache(maxsize=1024)
def _offsets(model: Loaded, text: str) -> tuple[tuple[int, int], ...]:
    """Place of each token; production retrieves the same passages again and again."""
    encoded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return tuple((start, end) for start, end in encoded["offset_mapping"] if start < end)


# --- the forward pass -----------------------------------------------------------------------------


def _run(model: Loaded, windows: Sequence[Window]) -> Iterator[tuple[Window, list[tuple[int, int, float]]]]:
    """Each window with (start, end, support) of the places in its right part; like lengths run together."""
    import torch

    ordered = iter(sorted(windows, key=lambda window: len(window.left) + len(window.right)))
    while some := list(islice(ordered, model.batch)):
        encoded = model.tokenizer(
            [window.left for window in some],
            [window.right for window in some],
            truncation="only_first",
            max_length=model.window,
            padding=True,
            return_offsets_mapping=True,
            return_tensors="pt",
            verbose=False,
        )
        offsets = encoded.pop("offset_mapping").tolist()
        try:
            with torch.inference_mode():
                supports = model.supported(model.model(**encoded.to(model.device)).logits)
        except torch.OutOfMemoryError as error:
            raise FactoryError(
                f"The GPU has not enough memory for {model.batch} windows of {model.window} tokens: lower "
                "[mining.model] batch, or max_tokens."
            ) from error
        for n, window in enumerate(some):
            yield window, _places(model, window, supports[n], offsets[n], encoded.sequence_ids(n))


def _places(
    model: Loaded, window: Window, supports: "torch.Tensor", offsets: Sequence[Sequence[int]], parts: Sequence[Any]
) -> list[tuple[int, int, float]]:
    if model.kind == "sequence":
        return [(0, len(window.right), round(float(supports), 6))]
    return [
        (start, end, round(support, 6))
        for (start, end), part, support in zip(offsets, parts, supports.tolist(), strict=True)
        if part == 1 and start < end
    ]
