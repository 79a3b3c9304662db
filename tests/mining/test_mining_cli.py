import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Engine
from typer.testing import CliRunner

from factory.cli.app import app
from factory.mining.diagnose import diagnose
from factory.mining.lexical import lexical_scorer
from factory.mining.render import render_finding
from factory.mining.settings import MiningSettings
from logs_schema.documents import Version
from logs_schema.records import Context
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records

LIE = "Hello. Riders pay 19 dollars to the Zurich office [1]."


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_store: str) -> Any:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def mined(run: Any, engine: Engine, make: Any) -> Any:
    save_records(engine, [make(0), make(1, response=LIE), make(2, response="I don't know.")])
    assert run("mine").exit_code == 0
    return make(1).record_id


def test_an_empty_store_says_what_to_run(run: Any) -> None:
    result = run("mine")
    assert result.exit_code == 4 and "factory import" in result.stderr


def test_mine_reports_and_repeats(run: Any, mined: str) -> None:
    report = json.loads(run("mine", "--json").stdout)
    assert (report["mined"], report["already"], report["failures"]["unfaithful"]) == (0, 3, 1)
    text = run("mine").stdout
    assert "Mined 0 of 3 records (3 were mined before)." in text and "Review queue" in text


def test_where_to_mine_is_asked_for_in_one_way(run: Any, mined: str, tmp_path: Path) -> None:
    (tmp_path / "factory.toml").write_text("[mining]\nfaithful = 0.55\n")
    report = json.loads(run("mine", "--workers", "2", "--json").stdout)
    assert report["mined"] == 3 and report["stages"][0]["name"] == "words"
    wrong = run("mine", "--parquet", "all.parquet")
    assert wrong.exit_code == 2 and "--engine ray" in wrong.stderr
    (tmp_path / "factory.toml").write_text("[mining.judge]\nbase_url = 'http://localhost:1/v1'\n")
    wrong = run("mine")
    assert wrong.exit_code == 2 and "[mining.judge]: base_url and model go together" in wrong.stderr


def test_no_findings_say_why(run: Any, engine: Engine, make: Any) -> None:
    nothing_mined = "No findings: nothing was mined yet. Run `factory mine`.\n"
    assert run("findings", "list").stdout == nothing_mined
    assert run("findings", "list", "--failure", "unfaithful").stdout == nothing_mined
    save_records(engine, [make(0)])
    text = run("mine").stdout
    assert "Mined 1 of 1 record (0 were mined before)." in text
    assert run("findings", "list").stdout == "No findings: 1 record was mined.\n"
    filtered = run("findings", "list", "--failure", "unfaithful").stdout
    assert filtered == "No findings of that kind: 1 record was mined.\n"


def test_findings_are_listed_and_shown(run: Any, mined: str) -> None:
    assert mined in run("findings", "list").stdout
    listed = json.loads(run("findings", "list", "--failure", "unfaithful", "--json").stdout)
    assert [finding["record_id"] for finding in listed["findings"]] == [mined]
    for name in (mined, mined[:6], "trace-0001"):
        shown = run("findings", "show", name)
        assert shown.exit_code == 0
        assert "«Riders pay 19 dollars to the Zurich office [1].»" in shown.stdout
        assert "▸The City plan costs 72 euros a month for the everyday step-through bike.◂" in shown.stdout
        assert "\x1b" not in shown.stdout
        for part in ("Question", "Response of the app", "Retrieved passages", "Why it is flagged", "What happens next"):
            assert f"\n{part}" in shown.stdout, part
        assert shown.stdout.startswith("The response says what the retrieved passages do not support.")
        assert "sure (0." in shown.stdout and "[faithful = 0.5]" in shown.stdout
        assert "in no passage: " in shown.stdout and "It waits in the review queue" in shown.stdout
    assert json.loads(run("findings", "show", mined, "--json").stdout)["failure"] == "unfaithful"
    assert run("findings", "show", "nowhere").exit_code == 3


def test_a_wrong_failure_lists_the_choices(run: Any, mined: str) -> None:
    result = run("findings", "list", "--failure", "halucination")
    assert result.exit_code == 2 and "'unfaithful'" in result.stderr


def test_the_queue_is_shown(run: Any, mined: str) -> None:
    entries = json.loads(run("queue", "show", "--json").stdout)["entries"]
    assert {entry["failure"] or entry["reason"] for entry in entries} <= {"unfaithful", "over_refusal", "audit"}
    assert "1 of 1 record that waits for review (1 unfaithful); 0 are reviewed." in run("queue", "show").stdout
    assert "Review queue: 1 of at most 200 records waits, 0 are new." in run("mine").stdout


def test_hostile_text_neither_steers_the_terminal_nor_is_markup(make: Any) -> None:
    hostile = "[red]Riders[/red] pay \x1b[31m19\x07 dollars \u202eto the Zurich office [link=x]."
    record = make(response=hostile, query="\x1b]0;owned\x07 how much is the city plan per month", contexts=(
        Context(text="The City plan costs 72 euros a month \x9b2J.", title="[bold]\x1bPlans"),
    ))  # fmt: skip
    house = HouseSettings()
    scores = lexical_scorer(house)([record])[0]
    finding = diagnose(record, scores, settings=MiningSettings(), house=house, versions={})
    console = Console(force_terminal=True, color_system="standard", width=200, highlight=False)
    with console.capture() as capture:
        console.print(render_finding(record, finding, MiningSettings()), soft_wrap=True)
    shown = capture.get()
    assert "[red]Riders[/red]" in shown and "\u241b[31m19\u2407" in shown
    assert "\x07" not in shown and "\x9b" not in shown and "\u202e" not in shown and "\x1b]" not in shown
    plain = render_finding(record, finding, MiningSettings()).plain
    assert "\x1b" not in plain and "«" in plain and "▸" in plain


def test_long_passages_are_cut_to_what_matters(run: Any, mined: str, make: Any, engine: Engine) -> None:
    filler = "Nothing to do with it at all. " * 60
    passage = filler + make().contexts[0].text + filler
    record = make(7, response=LIE, contexts=(Context(text=passage), Context(text=filler)))
    save_records(engine, [record])
    run("mine")
    shown = run("findings", "show", record.record_id).stdout
    assert "▸The City plan costs 72 euros" in shown and "more characters: --full" in shown
    assert len(shown) < 3000 < len(run("findings", "show", record.record_id, "--full").stdout)


def test_refusals_and_answers_without_a_basis_are_marked(make: Any) -> None:
    house = HouseSettings()

    def shown(**given: Any) -> str:
        record = make(0, **given)
        scores = lexical_scorer(house)([record])[0]
        finding = diagnose(record, scores, settings=MiningSettings(), house=house, versions={})
        return render_finding(record, finding, MiningSettings(), next_step="It waits.").plain

    refused = shown(response="Thank you. I don't know that.")
    assert "«I don't know that.»" in refused and "although the passages hold the answer" in refused
    assert "It waits." in refused
    answered = shown(query="who won the battle of waterloo", response="The free trial lasts 14 days.")
    assert "«The free trial lasts 14 days.»" in answered and "would have been" in answered


def test_a_finding_without_evidence_is_readable(make: Any) -> None:
    record = make(response="", contexts=())
    house = HouseSettings()
    scores = lexical_scorer(house)([record])[0]
    finding = diagnose(record, scores, settings=MiningSettings(), house=house, versions={})
    plain = render_finding(record, finding, MiningSettings()).plain
    assert "Retrieved passages\n  none\n" in plain and "not measured" in plain and "empty" in plain


def shown(record: Any, **given: Any) -> str:
    house, limits = HouseSettings(), MiningSettings()
    finding = diagnose(record, lexical_scorer(house)([record])[0], settings=limits, house=house, versions={}, **given)
    return render_finding(record, finding, limits).plain


def test_what_is_wrong_with_the_citations_is_said_once(make: Any) -> None:
    uncited = shown(make(response="The City plan costs 72 euros a month."))
    assert uncited.startswith("The response cites no passage.")
    assert uncited.count("cites") == 2 and "The response cites none of the retrieved passages." in uncited
    assert "supports the sentence: there are none in the response" in uncited
    outside = shown(make(response="The City plan costs 72 euros a month [9]."))
    assert outside.startswith("The response cites a passage that does not exist.")
    assert "- there is no passage [9]\n" in outside
    contexts = (*make().contexts, Context(text="Helmets are sold in the shop."))
    wrong = shown(make(response="The City plan costs 72 euros a month [2].", contexts=contexts))
    assert wrong.startswith("The response cites a passage that does not support it.")
    assert '- [2] does not support "The City plan costs 72 euros a month [2]."' in wrong


def test_a_looping_response_is_one_reason_with_all_its_places(make: Any) -> None:
    said = "Riders pay 19 dollars to the Zurich office."
    loop = shown(make(response=f"{said} Miriam lives in Oslo. {said} {said}"))
    assert loop.count(f"«{said}»") == 3 and loop.count(f'- "{said}" (3 times): in no passage') == 1
    kinds = ("Riders", "Llamas", "Pilots", "Nurses", "Bakers", "Miners", "Judges")
    many = shown(make(response=" ".join(f"{one} pay 19 dollars in Zurich." for one in kinds)))
    assert "- and 2 more\n" in many and many.count("«") == len(kinds) + 1, "all are marked, beside the legend"


@pytest.mark.parametrize("frame", ["The answer is: [1].\n\nPassage 1:\nThe answer is:\n\nPass", "The answer is:"])
def test_a_response_of_frames_states_nothing(make: Any, frame: str) -> None:
    for query in ("how much is the city plan per month", "who won the battle of waterloo"):
        text = shown(make(response=frame, query=query))
        assert text.startswith("The response states nothing that could be checked.")
        assert "in no passage: answer" not in text and "response states nothing" in text.split("Why it is flagged")[1]
    assert "states nothing" not in shown(make(response="The answer is: 19 dollars.\nPassage 1:"))


def test_other_failures_are_noticed_apart_from_the_reasons(make: Any) -> None:
    at = datetime(2026, 2, 3, tzinfo=UTC)
    contexts = (make().contexts[0], Context(text="Helmets are sold in the shop.", doc_id="shop", updated_at=at))
    record = make(response=LIE.replace(" [1]", ""), contexts=contexts)
    house, limits = HouseSettings(), MiningSettings()
    versions = {"shop": (Version(datetime(2026, 6, 15, tzinfo=UTC), "2"),)}
    finding = diagnose(record, lexical_scorer(house)([record])[0], settings=limits, house=house, versions=versions)
    plain = render_finding(record, finding, limits).plain
    why, noticed = plain.split("Why it is flagged")[1].split("Also noticed")
    assert "version" not in why and "cites" not in why
    assert "The response cites no passage. (bad_citation)" in noticed
    assert "[2] comes from the 2026-02-03 version of its document; a newer one is of 2026-06-15" in noticed


def test_a_passage_is_not_cut_for_a_few_characters(make: Any) -> None:
    text = "Nothing to do with it at all. " * 14
    assert "--full" not in shown(make(response=LIE, contexts=(*make().contexts, Context(text=text))))
    assert "--full" in shown(make(response=LIE, contexts=(*make().contexts, Context(text=text * 2))))
