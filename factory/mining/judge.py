"""A language model as the last stage: asked about what nothing cheaper settles, once per record and wording.

Logs are untrusted: they travel as one JSON object, the verdict is checked against a schema, and only quotations that
really stand in the response count. Replies are kept in the store, so that a killed run asks nothing twice.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine, Table, select

from factory.mining.cascade import Stage, aligned
from factory.mining.judge_client import Client, in_threads
from factory.mining.settings import MiningSettings
from factory.mining.why import quoted
from logs_schema.database import writing
from logs_schema.records import RagRecord, content_hash
from logs_schema.rows import chunks, content_hashes, put
from logs_schema.scores import Evidence, Scores, Span
from logs_schema.tables import Judgement, now

JUDGEMENT: Table = Judgement.__table__  # type: ignore[attr-defined]
KEY = "FACTORY_JUDGE_API_KEY"
PROMPT = Path(__file__).with_name("judge_prompt.txt")
SURE = 0.95
"""How far a plain yes counts, and 1 - SURE a plain no, with a threshold of 0.5."""
TURNS = 6
"""Earlier turns that the judge is shown."""

Word = Literal["yes", "no", "unsure"]


class Claim(BaseModel):
    """A statement of the response that the passages do not support."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quote: str = Field(min_length=1, max_length=2000)
    reason: str = Field(max_length=2000)


class Verdict(BaseModel):
    """What the judge says of one record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unsupported: tuple[Claim, ...] = Field(max_length=50)
    faithful: Word
    sufficient: Word


UNSURE = Verdict(unsupported=(), faithful="unsure", sufficient="unsure")


@cache
def prompt() -> str:
    """The instructions, as they are sent."""
    return PROMPT.read_text(encoding="utf-8").strip()


def prompt_hash() -> str:
    """Identity of instructions and schema."""
    return content_hash([prompt(), Verdict.model_json_schema()])


def case(record: RagRecord) -> str:
    """The message about one record: JSON, in which no text of a log can end its own string."""
    shown = {
        "earlier_turns": [f"{message.role}: {message.content}" for message in record.history[-TURNS:]],
        "question": record.query,
        "passages": [
            {"number": number, "title": context.title or "", "text": context.text}
            for number, context in enumerate(record.contexts, 1)
        ],
        "answer": record.response,
    }
    # an angle bracket within the data could fake the end of the case
    data = json.dumps(shown, ensure_ascii=False, indent=1).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<case>\n{data}\n</case>"


def judge_stage(engine: Engine, settings: MiningSettings) -> Stage:
    """The stage that `[mining.judge]` asks for; its key is `$FACTORY_JUDGE_API_KEY`.

    Raises:
        NotReadyError: httpx is not installed.
    """
    asks = settings.judge
    client = Client(asks, os.environ.get(KEY) or None, _schema())
    kept = Counter[str]()
    identity = [asks.model, prompt_hash()]

    def score(records: Sequence[RagRecord]) -> list[Scores]:
        keys = {record.record_id: content_hash([*identity, case(record)]) for record in records}
        verdicts = _kept(engine, keys)
        kept["from earlier runs"] += len(verdicts)
        pending: dict[str, str] = {}
        unasked = [record for record in records if record.record_id not in verdicts]

        def ask(record: RagRecord) -> Verdict | str:
            """The verdict, which is kept before anything else is asked; or why there is none."""
            reply = client.ask(prompt(), case(record))
            if reply.text is None:
                return reply.pending or ""
            verdict = read_verdict(reply.text)
            _keep(engine, record, keys[record.record_id], verdict, reply.tokens)
            return verdict

        with client:
            for record, said in in_threads(unasked, ask, asks.concurrency):
                if isinstance(said, str):
                    pending[record.record_id] = said
                else:
                    verdicts[record.record_id] = said
                    kept["invalid verdicts"] += said is UNSURE
        return [
            Scores(pending=pending[record.record_id])
            if record.record_id in pending
            else scores_of(record, verdicts[record.record_id], settings)
            for record in records
        ]

    return Stage("judge", score, spent=lambda: {**client.spent(), **+kept})


def read_verdict(text: str) -> Verdict:
    """The verdict in a reply, which may stand between other words; unsure when there is no valid one."""
    start, end = text.find("{"), text.rfind("}")
    try:
        return Verdict.model_validate_json(text[start : end + 1])
    except ValidationError:
        return UNSURE


def scores_of(record: RagRecord, verdict: Verdict, settings: MiningSettings) -> Scores:
    """Scores and evidence of a verdict; what it is unsure of is left out.

    A verdict that contradicts itself (faithful, and yet it quotes what is not) is unsure.
    """
    places = []
    for claim in verdict.unsupported:
        start = record.response.find(claim.quote)
        if start >= 0:
            places.append((start, start + len(claim.quote), claim.reason))
    faithful = "unsure" if verdict.faithful == "yes" and places else verdict.faithful
    measured: dict[str, Any] = {}
    if faithful != "unsure":
        measured["faithfulness"] = _value(faithful, settings.faithful)
        yes, no = _value("yes", settings.faithful), _value("no", settings.faithful)
        whole = Span(where="response", start=0, end=len(record.response))
        rest = Evidence(kind="supported", note="the judge finds the rest supported", spans=(whole,), score=yes)
        measured["evidence"] = (
            *(
                Evidence(
                    kind="unsupported",
                    note=f"the judge says: {quoted(reason)}",
                    spans=(Span(where="response", start=start, end=end),),
                    score=no,
                )
                for start, end, reason in places
            ),
            *((rest,) if places or faithful == "yes" else ()),
        )
    if verdict.sufficient != "unsure":
        measured["sufficiency"] = _value(verdict.sufficient, settings.sufficient)
    return Scores(**measured)


def _value(word: str, threshold: float) -> float:
    return round(aligned(SURE if word == "yes" else 1 - SURE, 0.5, threshold), 4)


def _schema() -> dict[str, Any]:
    """JSON schema of a verdict, in the part of the language that every endpoint knows: no lengths, no references."""
    word = {"type": "string", "enum": ["yes", "no", "unsure"]}
    claim = _object({"quote": {"type": "string"}, "reason": {"type": "string"}})
    return _object({"unsupported": {"type": "array", "items": claim}, "faithful": word, "sufficient": word})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# --- what was asked before ------------------------------------------------------------------------


def _kept(engine: Engine, keys: dict[str, str]) -> dict[str, Verdict]:
    """Verdicts on exactly these cases."""
    found = {}
    with engine.connect() as connection:
        for some in chunks(sorted(keys)):
            for row in connection.execute(select(JUDGEMENT).where(JUDGEMENT.c.interaction_id.in_(some))):
                if row.key == keys[row.interaction_id]:
                    found[row.interaction_id] = Verdict.model_validate(row.verdict)
    return found


def _keep(engine: Engine, record: RagRecord, key: str, verdict: Verdict, tokens: int) -> None:
    row = {
        "interaction_id": record.record_id,
        "key": key,
        "verdict": verdict.model_dump(mode="json"),
        "tokens": tokens,
        "judged_at": now(),
    }
    with writing(engine) as connection:
        if content_hashes(connection, [record.record_id]):
            put(connection, JUDGEMENT, [row], replace=True)
