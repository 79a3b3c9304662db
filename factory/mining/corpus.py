"""Does the corpus answer a question that its contexts did not? A BM25 search over what is known of the corpus.

That is the documents feed, and of documents that it does not hold the passages that other questions retrieved. The
index holds words only; texts are read from the store when a passage is among the best. It is built when the first
such question comes up, once a mining run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Engine

from factory.mining.answers import answer_in, asked
from factory.mining.lexical import answered, groundedness
from factory.mining.passage import passage, passages
from factory.mining.text import content_words, sentences
from logs_schema.documents import current_texts, logged_passages, texts_of
from logs_schema.passages import Texts
from logs_schema.records import RagRecord, passage_hash
from logs_schema.rows import chunks, passage_texts

if TYPE_CHECKING:
    import bm25s

PASSAGE = 700
"""Characters of a passage, about 120 words: as long as what is usually retrieved, so that both score alike."""
BEST = 5
"""Passages that are looked at closely; ten find no more (docs/mining.md)."""
SAME = 0.9
"""A passage of whose words a retrieved one holds this share was retrieved."""
MOST_HAD = 20
"""The record's own passages are left out of the best; more than this are rarely among them."""
PIECES = 16 << 20
"""Bytes of texts of the feed that stay in memory."""
LOGGED = 100_000
"""Passages of the logs that are searched at most, those that were retrieved most often."""


class Hit(NamedTuple):
    """The passage of the corpus that comes closest to answering a question."""

    doc_id: str
    title: str | None
    text: str
    """Empty when it comes from another record's contexts: those may be forgotten, and must not live on as quotes."""
    covered: float
    """0 to 1: sufficiency of this passage alone for the question; with a correction, how far it supports that."""


class Searched(NamedTuple):
    """What a search of the corpus found."""

    documents: int
    """Documents of the feed that were searched; 0 when there are none, so that nothing is known to be missing."""
    logged: int
    """Passages of other records that were searched."""
    hit: Hit | None
    """None when no passage shares a word with the question."""


class Place(NamedTuple):
    """Where a passage stands."""

    doc_id: str
    key: str
    """Of the document's version; of a logged passage its hash."""
    title: str | None
    start: int
    end: int
    logged: bool = False


class Corpus:
    """The present texts of the documents feed and the passages of the logs, searchable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places: list[Place] | None = None
        self._documents = self._logged = 0
        self._vocabulary: dict[str, int] = {}
        self._index: bm25s.BM25 | None = None
        self._pieces = Texts(PIECES)

    def search(self, record: RagRecord, correction: str | None = None) -> Searched | None:
        """The passage closest to answering a record's question; None when neither feed nor logs hold any.

        Args:
            record: its query, with the turns before it when it is a short follow-up.
            correction: the answer that a person gave; its words are searched for too, and a passage then has to
                support it.
        """
        if self._places is None:
            self._build()
        if self._index is None:
            return None
        words = {token.norm for token, _ in asked(record) if token.is_content}
        words |= {token.norm for token in content_words(correction or "")}
        there = list(islice(self._others(record, self._best(words)), BEST))
        return Searched(self._documents, self._logged, _closest(there, record, correction))

    def _others(self, record: RagRecord, best: Sequence[Place]) -> Iterator[tuple[Place, str]]:
        """Those of the best places that the record did not retrieve, with their texts."""
        own = {passage_hash(context.text) for context in record.contexts}
        had = [one.places for one in passages(record.contexts)]
        for some in chunks((place for place in best if place.key not in own), BEST):
            texts = self._texts(some)
            for place in (place for place in some if place in texts):
                words = passage(texts[place], place.title or "").places
                if not any(_holds(one, words) for one in had):
                    yield place, texts[place]

    def _texts(self, places: Sequence[Place]) -> dict[Place, str]:
        """Texts of the places that are still there."""
        logged = passage_texts(self._engine, {place.key for place in places if place.logged})
        feed = {f"{place.start} {place.key} {place.doc_id}": place for place in places if not place.logged}

        def read(names: Sequence[str]) -> list[tuple[str, str]]:
            wanted = {(place.doc_id, place.key) for place in map(feed.__getitem__, names)}
            whole = {(one.doc_id, one.key): one.text for one in texts_of(self._engine, sorted(wanted))}
            there = ((name, feed[name]) for name in names if feed[name][:2] in whole)
            return [(name, whole[place[:2]][place.start : place.end]) for name, place in there]

        found = {feed[name]: text for name, text in self._pieces.of(feed, read).items()}
        return found | {place: logged[place.key] for place in places if place.logged and place.key in logged}

    def _build(self) -> None:
        import bm25s

        self._places = []
        rows: list[list[int]] = []
        for place, text in chain(self._feed(), self._passages()):
            words = [word.norm for part in (place.title or "", text) for word in content_words(part)]
            if words:
                rows.append([self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words])
                self._places.append(place)
        if self._vocabulary:
            self._index = bm25s.BM25()
            self._index.index((rows, dict(self._vocabulary)), show_progress=False)

    def _feed(self) -> Iterator[tuple[Place, str]]:
        for document in current_texts(self._engine):
            self._documents += 1
            for start, end in pieces(document.text):
                yield Place(document.doc_id, document.key, document.title, start, end), document.text[start:end]

    def _passages(self) -> Iterator[tuple[Place, str]]:
        for shown in logged_passages(self._engine, LOGGED):
            self._logged += 1
            yield Place(shown.doc_id, shown.key, shown.title, 0, len(shown.text), logged=True), shown.text

    def _best(self, words: set[str]) -> list[Place]:
        import numpy as np

        known = sorted(self._vocabulary[word] for word in words if word in self._vocabulary)
        if not known or self._index is None or self._places is None:
            return []
        scores = self._index.get_scores_from_ids(known)
        edge = len(scores) - min(BEST + MOST_HAD, len(scores))
        best = np.argpartition(scores, edge)[edge:]
        return [self._places[n] for n in sorted(best, key=lambda n: (-scores[n], n)) if scores[n] > 0]


def _holds(one: Mapping[str, int], words: Collection[str]) -> bool:
    """Whether it has the share `SAME` of the words; most often a few of them tell that it has not."""
    left, enough = len(words), SAME * len(words)
    for word in words:
        if word not in one:
            left -= 1
            if left < enough:
                return False
    return True


def _closest(found: Sequence[tuple[Place, str]], record: RagRecord, correction: str | None) -> Hit | None:
    if correction is None:
        answer = answer_in(record, [(text, place.title or "") for place, text in found])
        rank, covered = answer.context, answered(answer)
    else:
        supports = groundedness([(correction, [text]) for _, text in found])
        rank = max(range(len(supports)), key=lambda n: (supports[n], -n), default=None)
        covered = 0.0 if rank is None else supports[rank]
    if rank is None:
        return None
    place, text = found[rank]
    return Hit(place.doc_id, place.title, "" if place.logged else text, covered)


def pieces(text: str) -> Iterator[tuple[int, int]]:
    """Places of passages in a text: whole sentences, of about `PASSAGE` characters together."""
    start = end = None
    for sentence in sentences(text):
        if start is not None and end is not None and sentence.end - start > PASSAGE:
            yield start, end
            start = None
        start, end = sentence.start if start is None else start, sentence.end
    if start is not None and end is not None:
        yield start, end
