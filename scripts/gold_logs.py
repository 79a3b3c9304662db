"""The whole loop on your own logs when gold answers are known for them: a check of the miner and the recipe.

    python scripts/gold_logs.py --logs LOGS.jsonl --gold GOLD.jsonl --dir FOLDER

GOLD has one JSON object a trace: `trace_id, answerable, reference, evidence (sentences), gold_retrieved, token_f1,
refused_by_wording`. A response counts as *bad* when it answers an unanswerable question, refuses an answerable one
whose gold passage was retrieved, or has token F1 below .25 to the reference; *good context* means answerable and
the gold passage retrieved. A scripted curator reviews from the same file, through Argilla's own API. Nothing is
fitted on it.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "helpcentre"))

from factory.mining.intervals import share, told

import curator
from demo import CURATOR, Demo, figure, free_port, login

SETTINGS = """
[mining]
budget = {budget}
per_user = {budget}
per_session = {budget}
[labeling]
api_url = "http://127.0.0.1:{port}"
curators = ["{curator}"]
[evaluation]
max_rows = {rows}
[schedule]
silent_after_hours = 1e6
"""


SHOWN = ("balanced_abstention", "answer_f1", "false_refusal")


def is_bad(gold: dict[str, Any]) -> bool:
    """Whether the logged response counts as bad."""
    if not gold["answerable"]:
        return not gold["refused_by_wording"]
    if gold["gold_retrieved"] and gold["refused_by_wording"]:
        return True
    return gold["token_f1"] is None or gold["token_f1"] < 0.25


def is_good_context(gold: dict[str, Any]) -> bool:
    """Whether the context held the answer."""
    return bool(gold["answerable"] and gold["gold_retrieved"])


def decide(record: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What a curator who knows the gold answer would submit."""
    gold = known[record["external_id"]]
    if not is_good_context(gold):
        return {"decision": "good_as_is" if gold["refused_by_wording"] else "abstain"}
    if not is_bad(gold):
        return {"decision": "good_as_is"}
    passages = curator.numbered(record["fields"]["passages"])
    evidence = [plain(sentence) for sentence in gold["evidence"]]
    holding = [n for n, text in passages.items() if any(sentence in plain(text) for sentence in evidence)]
    if not holding:
        return {"decision": "not_usable", "comment": "scripted curator: the evidence is not in the passages shown"}
    mark = f"[{holding[0]}]"
    return {"decision": "answer", "ideal_answer": f"{gold['reference'].strip().rstrip('.')} {mark}."}


def plain(text: str) -> str:
    """Letters and digits only, so that white space and quotes do not matter."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def mining_report(findings: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]]) -> str:
    """Precision and recall of the miner against the gold file."""
    good_context = {"unfaithful", "over_refusal", "incomplete", "bad_citation", "bad_format"}
    wrong = good_context - {"bad_citation", "bad_format"}

    def line(said: str, flagged: set[str], truth: set[str], base: int) -> str:
        hits = len(flagged & truth)
        return (
            f"  {said:<58} precision {told(share(hits, len(flagged))):<32} recall {told(share(hits, len(truth))):<32} "
            f"(base rate {len(truth) / base:.2f})"
        )

    def flagged(kinds: set[str]) -> set[str]:
        return {name for name, finding in findings.items() if finding["failure"] in kinds}

    bad = {name for name, gold in known.items() if is_bad(gold)}
    unanswered = {"missing_abstention"}
    bad_despite_context = {name for name, gold in known.items() if is_good_context(gold) and is_bad(gold)}
    good_contexts = {name for name, gold in known.items() if is_good_context(gold)}
    should_abstain = {name for name, gold in known.items() if not is_good_context(gold) and is_bad(gold)}
    total = len(known)
    return "\n".join(
        [
            f"Miner against gold, {total} records, 95 % Wilson intervals:",
            line("good-context failures but citation → good context, bad", flagged(wrong), bad_despite_context, total),
            line("all good-context failures → good context", flagged(good_context), good_contexts, total),
            line(
                "missing_abstention → answered without the answer",
                flagged(unanswered),
                should_abstain,
                total,
            ),
            line(
                "any failure → bad",
                flagged(good_context | unanswered),
                bad,
                total,
            ),
        ]
    )


def main() -> None:
    """Import, mine, review, retrain, and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="folder to work in")
    parser.add_argument("--rows", type=int, default=100, help="held-out rows to evaluate at the most")
    options = parser.parse_args()
    for file in (options.logs, options.gold):
        if not file.is_file():
            raise SystemExit(f"gold_logs: there is no file {file}.")
    from logs_schema.records import record_id

    gold = [json.loads(line) for line in options.gold.read_text(encoding="utf-8").splitlines()]
    known = {record_id("gold", row["trace_id"]): row for row in gold}
    folder: Path = options.dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "factory.toml"
    if not settings.exists():
        values = {"budget": len(gold), "port": free_port(6921), "curator": CURATOR, "rows": options.rows}
        settings.write_text(SETTINGS.format(**values), encoding="utf-8")
    demo = Demo(folder)
    demo.run("import", str(options.logs.absolute()), "--source", "gold")
    demo.run("mine")
    listed = demo.ask("findings", "list", "--limit", str(len(gold)))["findings"]
    report = mining_report({finding["record_id"]: finding for finding in listed}, known)
    print(report, flush=True)
    if demo.ask("label", "status")["problem"]:
        demo.run("label", "serve", "--background")
    demo.run("label", "push")
    url = demo.ask("label", "status")["target"].split(" ", 1)[0]
    decided = curator.review(url, CURATOR, login(folder, CURATOR), "rag-review", lambda record: decide(record, known))
    print(f"scripted curator: {dict(decided)}")
    demo.run("label", "pull")
    demo.run("label", "stop")
    demo.run("retrain", allowed=(0, 5))
    print("\n" + report)
    evaluation = demo.ask("adapters", "show", demo.ask("adapters", "list")["adapters"][0]["adapter_id"])["evaluation"]
    for rung in evaluation["rungs"]:
        figures = [f"{name} {figure(rung['figures'][name])}" for name in SHOWN]
        print(f"  {rung['rung']:<18}{'   '.join(figures)}")


if __name__ == "__main__":
    main()
