"""Scores from words alone: how far contexts support a response, and whether they hold the answer to the query.

Every feature is a share, so that neither lengths nor the number of passages leak in, and depends on nothing but the
record: the same record scores the same in any batch, order or store. Weights are round numbers chosen once over
the public sets named in `docs/mining.md`, not fitted to any of them.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from factory.mining.abstention import read_abstention
from factory.mining.citations import Citation, citations, cited_sentences, without_citations
from factory.mining.text import Sentence, Token, by_sentence, sentences, tokens
from factory.mining.words import NEGATIONS, STOP_WORDS
from logs_schema.records import Context, RagRecord
from logs_schema.scores import Scorer, Scores
from logs_schema.settings import HouseSettings

SHORT = 3
"""A sentence with fewer content words is too short to decide alone that a response is unsupported."""
MOST = 200
"""Sentences of a response that are judged; a longer one is a loop of the model or an attack."""
CITED = 0.4
"""A cited passage supports its sentence when it holds this share of the sentence's content words …"""
CITED_TO_BEST = 0.6
"""… and this share of what the best passage holds."""
_COUNT_WORDS = frozenset({"many", "much", "long", "old", "far", "tall", "big", "high", "heavy", "fast"})
_DATE_WORDS = frozenset({"when", "year", "date", "wann", "quand", "cuándo", "quando", "wanneer"})


class PassageSentence(NamedTuple):
    """One sentence of a passage."""

    place: Sentence
    words: frozenset[str]
    negated: bool


class Passage(NamedTuple):
    """Features of one passage, computed once per distinct text and title."""

    words: frozenset[str]
    """Comparable words of text and title."""
    pairs: frozenset[tuple[str, str]]
    """Neighbouring words."""
    content_pairs: frozenset[tuple[str, str]]
    """Content words that are neighbours, or have one content word between them."""
    sentences: tuple[PassageSentence, ...]


class Support(NamedTuple):
    """How far the contexts support one sentence of a response."""

    sentence: Sentence
    score: float
    """0 to 1."""
    weight: int
    """Its number of content words."""
    context: int | None
    """Rank of the passage that comes closest; None when nothing is shared."""
    place: Sentence | None
    """The sentence of that passage."""
    missing: tuple[str, ...]
    """Its figures, names and other content words that no passage holds, as written."""


class Answer(NamedTuple):
    """The stretch of the contexts most likely to answer the query."""

    sufficiency: float
    coverage: float
    """Weighted share of the query's content words in the best passage."""
    context: int | None
    place: Sentence | None
    """The best sentence; None when no passage has a word of the query."""
    words: frozenset[str]
    """Content words of that sentence that the query does not hold: what it adds."""


@lru_cache(maxsize=4096)
def passage(text: str, title: str = "") -> Passage:
    """Features of a passage, cached: production retrieves the same ones again and again."""
    found = tokens(text)
    norms = [token.norm for token in found]
    content = [token.norm for token in found if token.is_content]
    split = []
    places = sentences(text)
    for place, within in zip(places, by_sentence(found, places), strict=True):
        words = frozenset(token.norm for token in within)
        split.append(PassageSentence(place, words, not words.isdisjoint(NEGATIONS)))
    return Passage(
        words=frozenset(norms).union(token.norm for token in tokens(title)),
        pairs=frozenset(pairwise(norms)),
        content_pairs=frozenset(pairwise(content)).union(zip(content, content[2:], strict=False)),
        sentences=tuple(split),
    )


def passages(contexts: Iterable[Context]) -> list[Passage]:
    """Features of the contexts, in their order."""
    return [passage(context.text, context.title or "") for context in contexts]


def supports(response: str, found: Sequence[Passage], only: Sequence[Sentence] | None = None) -> list[Support]:
    """Support of each sentence of a response (the first 200) that has content words; citation marks are left out.

    Args:
        response: The answer.
        found: Features of its contexts.
        only: Sentences to look at; all of them when None.
    """
    text = without_citations(response)
    places = (sentences(text) if only is None else only)[:MOST]
    return [
        _support(text, place, within, found)
        for place, within in zip(places, by_sentence(tokens(text), places), strict=True)
        if any(token.is_content for token in within)
    ]


def faithfulness_of(judged: Sequence[Support]) -> float | None:
    """Half the mean over sentences (by content words), half the worst sentence; None when nothing is claimed."""
    if not judged:
        return None
    mean = sum(support.score * support.weight for support in judged) / sum(support.weight for support in judged)
    full = [support.score for support in judged if support.weight >= SHORT]
    return 0.5 * mean + 0.5 * min(full or [support.score for support in judged])


def answer_in(record: RagRecord, found: Sequence[Passage]) -> Answer:
    """Whether and where the contexts hold the answer to the query.

    The best passage's share of the query's content words (0.4), the same of its best two neighbouring sentences (0.4)
    and of its three best sentences (0.2); a sixth less when the query asks for a figure and none is there.
    """
    weights: dict[str, float] = {}
    figure = _asks_figure(record.query)
    for token, share in asked(record):
        if not (figure and token.norm in _COUNT_WORDS):
            weights[token.norm] = max(weights.get(token.norm, 0.0), share * token.weight)
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1.0)
    total = sum(weights.values())
    best = Answer(0.0, 0.0, None, None, frozenset())
    if not total:
        return best
    for rank, one in enumerate(found):
        shares = [_share(weights, sentence.words) / total for sentence in one.sentences]
        if not shares:
            continue
        coverage = _share(weights, one.words) / total
        windows = [
            _share(weights, first.words | second.words) / total for first, second in pairwise(one.sentences)
        ] or shares
        top = sorted(shares, reverse=True)[:3]
        score = 0.4 * coverage + 0.4 * max(windows) + 0.2 * sum(top) / len(top)
        at = max(range(len(shares)), key=lambda n: (shares[n], -n))
        near = frozenset().union(*(sentence.words for sentence in one.sentences[max(0, at - 1) : at + 2]))
        if figure and not any(word[0].isdigit() and word not in weights for word in near):
            score *= 5 / 6
        if score > best.sufficiency:
            sentence = one.sentences[at]
            best = Answer(score, coverage, rank, sentence.place, sentence.words - weights.keys() - STOP_WORDS)
    return best


def unsupported_citations(response: str, found: Sequence[Passage]) -> tuple[list[Citation], list[Citation]]:
    """Citations that are out of range, and citations whose passage does not support their sentence."""
    backed = cited_sentences(response)
    places = sorted({place for _, place in backed if place})
    split = by_sentence(tokens(without_citations(response)), places)
    words_of = {
        place: {token.norm for token in within if token.is_content} for place, within in zip(places, split, strict=True)
    }
    outside, unsupported = [], []
    for citation, place in backed:
        words = words_of[place] if place else set()
        if not 1 <= citation.number <= len(found):
            outside.append(citation)
        elif words:
            shares = [len(words & one.words) / len(words) for one in found]
            if shares[citation.number - 1] < max(CITED, CITED_TO_BEST * max(shares)):
                unsupported.append(citation)
    return outside, unsupported


def lexical_scorer(house: HouseSettings) -> Scorer:
    """A scorer that needs no model and no corpus.

    Args:
        house: Its wording of "I don't know" counts as abstention, beside the common ones.
    """

    def score(records: Sequence[RagRecord]) -> list[Scores]:
        return [_scores(record, house) for record in records]

    return score


def groundedness(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
    """Faithfulness of (answer, context texts) pairs, in order; 0 for an answer that claims nothing."""
    return [faithfulness_of(supports(answer, [passage(text) for text in texts])) or 0.0 for answer, texts in pairs]


def _scores(record: RagRecord, house: HouseSettings) -> Scores:
    abstention = read_abstention(record.response, house.abstention)
    found = passages(record.contexts)
    readable = any(context.text.strip() for context in record.contexts)
    cited = citations(record.response)
    outside, unsupported = unsupported_citations(record.response, found)
    answer = answer_in(record, found)
    judged = supports(record.response, found, abstention.claims if abstention.abstains else None)
    held = {token.norm for token in tokens(record.response)}
    return Scores(
        faithfulness=faithfulness_of(judged) if readable else None,
        sufficiency=answer.sufficiency if readable or not record.contexts else None,
        abstained=abstention.abstains if record.response.strip() else None,
        citations=tuple(citation.number for citation in cited),
        citation_validity=1 - (len(outside) + len(unsupported)) / len(cited) if cited and readable else None,
        query_coverage=answer.coverage if readable else None,
        completeness=len(answer.words & held) / len(answer.words) if readable and answer.words else None,
    )


def _support(text: str, place: Sentence, within: list[Token], found: Sequence[Passage]) -> Support:
    norms = [token.norm for token in within]
    content = [token for token in within if token.is_content]
    words = [token.norm for token in content]
    missing = [token for token in content if not any(token.norm in one.words for one in found)]
    coverage = 1 - len(missing) / len(words)
    nearest, context, match = 0.0, None, None
    for rank, one in enumerate(found):
        for sentence in one.sentences:
            share = sum(word in sentence.words for word in words) / len(words)
            if share > nearest:
                nearest, context, match = share, rank, sentence
    pairs = list(pairwise(norms))
    content_pairs = list(pairwise(words))
    in_order = _held(pairs, [one.pairs for one in found], coverage)
    near = _held(content_pairs, [one.content_pairs for one in found], coverage)
    score = 0.3 * nearest + 0.3 * coverage + 0.2 * near + 0.2 * in_order
    figures = [token for token in content if token.is_number]
    names = [token for token in content if text[token.start].isupper() and token.start > place.start]
    score *= 1 - 0.5 * _lost(figures, missing)
    score *= 1 - 0.4 * _lost(names, missing)
    if match and nearest > 0.5 and match.negated is NEGATIONS.isdisjoint(norms):
        score *= 0.8
    written = dict.fromkeys(text[token.start : token.end] for token in missing)
    return Support(place, score, len(words), context, match.place if match else None, tuple(written))


def _held(pairs: list[tuple[str, str]], sets: list[frozenset[tuple[str, str]]], alone: float) -> float:
    """Share of the pairs that some passage holds; a sentence of one word counts by the word alone."""
    return sum(any(pair in one for one in sets) for pair in pairs) / len(pairs) if pairs else alone


def _lost(kind: list[Token], missing: list[Token]) -> float:
    return len(set(kind) & set(missing)) / len(set(kind)) if kind else 0.0


def _share(weights: dict[str, float], words: frozenset[str]) -> float:
    return sum(weight for word, weight in weights.items() if word in words)


def asked(record: RagRecord) -> list[tuple[Token, float]]:
    """Words of the query; "and for Cargo?" borrows those of the last two user turns, at a quarter of the weight."""
    own = tokens(record.query)
    if sum(token.weight == 1 for token in own) >= SHORT:
        return [(token, 1.0) for token in own]
    turns = [message.content for message in record.history if message.role == "user"][-2:]
    return [(token, 1.0) for token in own] + [(token, 0.25) for turn in turns for token in tokens(turn)]


def _asks_figure(query: str) -> bool:
    words = {token.norm for token in tokens(query)}
    return not words.isdisjoint(_DATE_WORDS) or ("how" in words and not words.isdisjoint(_COUNT_WORDS))
