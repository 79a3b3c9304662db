"""`factory label` from the outside: what it prints and with which code it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.cli.app import app
from labeling.server.serve import answers, running
from labeling.settings import LabelingSettings

RUNNER = CliRunner()


@pytest.fixture
def project(tmp_path: Path, free_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a `factory.toml` whose Argilla does not run and is not installed."""
    (tmp_path / "factory.toml").write_text(
        f'[labeling]\napi_url = "{free_url}"\nserver_env = "no-env"\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["serve"], 4, "run `factory label install` once"),
        (["push"], 4, "There is no API key for Argilla"),
        (["pull"], 4, "There is no API key for Argilla"),
        (["push", "--limit", "0"], 2, "--limit"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_missing_is_said(command: list[str], code: int, message: str) -> None:
    result = RUNNER.invoke(app, ["label", *command])
    assert (result.exit_code, message in result.output) == (code, True), result.output


def test_status_and_stop_without_a_server(project: Path) -> None:
    result = RUNNER.invoke(app, ["label", "status"])
    assert result.exit_code == 0
    assert result.output.startswith("Queue: empty; 0 pushed, 0 reviewed.\nArgilla: There is no API key")
    result = RUNNER.invoke(app, ["label", "stop", "--json"])
    assert json.loads(result.output) == {"stopped": False}
    assert not (project / ".groundmill" / "argilla").exists()


def test_an_owner_among_the_curators_is_a_configuration_mistake(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_LABELING__CURATORS", '["owner"]')
    result = RUNNER.invoke(app, ["label", "status"])
    assert result.exit_code == 2
    assert "factory's own user" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_served_in_the_foreground_until_a_signal(new_settings: LabelingSettings, tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from factory.cli.app import main; main()", "label", "serve", "--json"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            "FACTORY_LABELING__API_URL": new_settings.api_url,
            "FACTORY_LABELING__HOME": new_settings.home,
            "FACTORY_LABELING__SERVER_ENV": new_settings.server_env,
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    report = json.loads("".join(lines))
    assert set(report["new_logins"]) == {"owner", "curator"}
    assert answers(new_settings.api_url)
    process.send_signal(number)
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    assert running(Path(new_settings.home)) is None
    assert not answers(new_settings.api_url)
