import re
from pathlib import Path

import pytest

from factory.config_template import init, render
from factory.settings import Settings, load
from logs_schema.errors import ConfigurationError
from logs_schema.settings import Section


def test_defaults_work_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load()
    assert settings.root == tmp_path
    assert settings.store_url == f"sqlite:///{tmp_path}/groundmill.db"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "factory.toml"
    file.write_text("[mining]\nbudget = 7\nper_user = 3\n")
    monkeypatch.setenv("FACTORY_MINING__BUDGET", "9")
    settings = load(file)
    assert (settings.mining.budget, settings.mining.per_user) == (9, 3)


def test_every_mistake_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "factory.toml"
    file.write_text('[mining]\nbudget = "many"\nbudgget = 3\n[minning]\nx = 1\n[training]\nepochs = -1\n')
    monkeypatch.setenv("FACTORY_GATE__MIN_ROWS", "few")
    monkeypatch.setenv("FACTORY_MININNG__BUDGET", "3")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    message = str(caught.value)
    for mistake in (
        "[mining] budget:",
        "[mining] budgget",
        "[minning]",
        "[training] epochs",
        "$FACTORY_GATE__MIN_ROWS",
    ):
        assert mistake in message
    assert "$FACTORY_MININNG__BUDGET: unknown setting" in message
    assert "6 mistakes:" in message


@pytest.mark.parametrize(
    ("content", "environment", "mistake"),
    [
        ("", {"FACTORY_MINING__NOPE": "1"}, "$FACTORY_MINING__NOPE: unknown setting"),
        ("", {"FACTORY_MINING__JUDGE__NOPE": "1"}, "$FACTORY_MINING__JUDGE__NOPE: unknown setting"),
        ("", {"FACTORY_MINING": "x"}, "$FACTORY_MINING: unknown setting"),
        ("[mining]\nfaithfull = 0.5", {}, "FILE: [mining] faithfull: unknown setting"),
        ("[mining.model]\nbach = 2", {}, "FILE: [mining.model] bach: unknown setting"),
        ("mining = 3", {}, "FILE: [mining]: a table is expected"),
        ("[mining]\nshares = 3", {}, "FILE: [mining] shares: a table is expected"),
        ('[mining]\nformat_regex = "("', {}, "FILE: [mining] format_regex: is not a regular expression: missing"),
        ('[mining]\nformat_schema = "{"', {}, "FILE: [mining] format_schema: is not a JSON Schema: "),
        ("[mining]\nshares = { ticket = 2 }", {}, "FILE: [mining] shares: must be 0 or more and sum to at most 1"),
        ('[mining.judge]\nmodel = "x"', {}, "FILE: [mining.judge]: base_url and model go together"),
        (
            "",
            {"FACTORY_MINING__JUDGE__MODEL": "x"},
            "$FACTORY_MINING__JUDGE__MODEL: base_url and model go together",
        ),
        (
            '[mining.judge]\nbase_url = "ftp://x"',
            {"FACTORY_MINING__JUDGE__MODEL": "x"},
            "FILE: [mining.judge] base_url: must begin with http",
        ),
        (
            "[mining.judge]\nretries = 2",
            {"FACTORY_MINING__JUDGE__MODEL": "x"},
            "FILE: [mining.judge] with $FACTORY_MINING__JUDGE__MODEL: base_url and model go together",
        ),
        ("", {"FACTORY_PII__ALLOW": "[1]"}, "$FACTORY_PII__ALLOW: Input should be a valid string"),
        (
            '[imports]\nfiles = "logs/*.jsonl"',
            {},
            'FILE: [imports] files: a list is expected, such as ["logs/*.jsonl"]',
        ),
        (
            "",
            {"FACTORY_IMPORTS__FILES": "logs/*.jsonl"},
            '$FACTORY_IMPORTS__FILES: a list in JSON is expected, such as ["logs/*.jsonl"]',
        ),
        ("", {"FACTORY_MINING__SHARES": "{"}, "$FACTORY_MINING__SHARES: a table in JSON is expected"),
        ("", {"FACTORY_MINING__JUDGE": "x"}, "$FACTORY_MINING__JUDGE: a table in JSON is expected"),
    ],
)
def test_a_mistake_is_told_once_and_names_the_setting_where_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, environment: dict[str, str], mistake: str
) -> None:
    file = tmp_path / "factory.toml"
    file.write_text(content)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    head, *lines = str(caught.value).splitlines()
    assert head == "The configuration has 1 mistake:"
    assert len(lines) == 1 and lines[0].startswith("  " + mistake.replace("FILE:", f"{file}:"))


@pytest.mark.parametrize("content", [b"[mining\n", b"\xff\xfe\x00"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "factory.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"factory\.toml is not valid TOML"):
        load(file)


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="factory init"):
        load(tmp_path / "none.toml")


def test_review_shares_must_be_known_and_sum_to_one_at_most(tmp_path: Path) -> None:
    file = tmp_path / "factory.toml"
    file.write_text("[mining]\nshares = { retrieval_miss = 0.5 }\n")
    with pytest.raises(ConfigurationError, match="retrieval_miss is not reviewable"):
        load(file)
    file.write_text("[mining]\nshares = { unfaithful = 0.7, over_refusal = 0.7 }\n")
    with pytest.raises(ConfigurationError, match="sum to at most 1"):
        load(file)


def test_the_template_shows_every_setting_at_its_default(tmp_path: Path) -> None:
    file = tmp_path / "factory.toml"
    lines = render().splitlines()
    settings = [line.removeprefix("# ") for line in lines if line.startswith("[") or re.match(r"# \w+ = ", line)]
    file.write_text("\n".join(settings))
    assert load(file) == load(init(tmp_path / "other")).model_copy(update={"root": tmp_path})
    for name, field in Settings.model_fields.items():
        if name != "root":
            assert f"[{name}]" in lines
            for key, value in field.default:
                shown = re.escape(f"[{name}.{key}]") if isinstance(value, Section) else rf"# {key} (=|is not set)"
                assert any(re.match(shown, line) for line in lines), (name, key)


def test_init_never_overwrites(tmp_path: Path) -> None:
    init(tmp_path)
    with pytest.raises(ConfigurationError, match="left as it is"):
        init(tmp_path)
