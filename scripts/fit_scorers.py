"""Fit what the miner's scorers ship with, from public sets that people judged.

    python scripts/fit_scorers.py --data FOLDER [--check]

Writes factory/mining/fitted/{idf,lexical,semantic}.json: word frequencies over the passages of the groundedness
sets, and a combination for faithfulness fitted on those sets. Sufficiency is not fitted: its round weights stand below.
`scripts/bench mining` measures how good they are. With --check nothing is written; exit code 1 when a file would
change.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "benches"))

from factory.mining import idf
from factory.mining.combination import FITTED, Combination, Fit
from factory.mining.fitting import fit_line
from factory.mining.text import by_sentence, sentences, tokens
from logs_schema.files import write_atomic

import judged as sets

SUFFICIENCY = {
    "lexical": Combination(weights={"coverage": 2.0, "stretch": 2.0, "spread": 1.0, "unlike": -0.5}, intercept=-2.5),
    "semantic": Combination(
        weights={
            **{"coverage": 2.0, "stretch": 2.0, "spread": 1.0, "unlike": -0.5},
            **{"closest_three": 2.5, "overall": 2.5},
        },
        intercept=-5.0,
    ),
}
"""Chosen by hand, because no set was at hand that the miner is not judged on: each share counts alike, and half of
all that could speak for an answer is a coin."""


def main() -> None:
    """Count, fit, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with groundedness/*.jsonl")
    parser.add_argument("--check", action="store_true", help="write nothing, tell what would change")
    options = parser.parse_args()
    judged = sets.read_groundedness(options.data)
    changed = []

    def write(name: str, text: str) -> None:
        file = FITTED / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            changed.append(name)
            if not options.check:
                write_atomic(file, text.encode())

    table = idf_table(context.text for one in judged.values() for record in one.records for context in record.contexts)
    write("idf.json", table)
    if changed and options.check:
        raise SystemExit("idf.json would change, and with it everything else.")
    found = {key: (sets.measured(one)[0], one) for key, one in judged.items()}
    held_out = sets.leave_one_family_out(found, sets.WORDS)
    logits = [logit for key in found for logit in held_out[key]]
    slope, offset = fit_line(logits, [label for one in judged.values() for label in one.labels])
    fitted = sets.fit_sets(list(found.values()), sets.WORDS)
    faithfulness = fitted.model_copy(update={"slope": slope, "offset": offset})
    for name, sufficiency in SUFFICIENCY.items():
        fit = Fit(faithfulness=faithfulness, sufficiency=sufficiency)
        write(f"{name}.json", json.dumps(fit.model_dump(mode="json"), indent=1) + "\n")
    print(", ".join(f"{key} {weight:+.2f}" for key, weight in faithfulness.weights.items()))
    print(f"changed: {', '.join(changed)}" if changed else "nothing changed")
    sys.exit(bool(changed) and options.check)


def idf_table(texts: Iterable[str]) -> str:
    """Words of at least six sentences with how rare they are, as JSON."""
    counts: Counter[str] = Counter()
    seen = 0
    for text in sorted(set(texts)):
        for within in by_sentence(tokens(text), sentences(text)):
            seen += 1
            counts.update({token.norm for token in within})
    return json.dumps({"sentences": seen, "idf": idf.weights_from(counts, seen)}, ensure_ascii=False, indent=0) + "\n"


if __name__ == "__main__":
    main()
