"""The whole loop, small, by the commands that people type: real store, real Argilla, real training."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TRACES = 60

sys.path.insert(0, str(ROOT / "scripts" / "helpcentre"))

LENIENT = {
    "FACTORY_GATE__MIN_ROWS": "2",
    "FACTORY_GATE__MIN_BALANCED_ABSTENTION": "0",
    "FACTORY_GATE__MIN_GAIN_BALANCED": "-1",
    "FACTORY_GATE__MAX_FALSE_REFUSAL": "1",
    "FACTORY_GATE__MAX_ANSWER_F1_LOSS": "1",
    "FACTORY_GATE__MAX_CITATION_LOSS": "1",
    "FACTORY_GATE__MAX_FORGETTING": "10",
}
SETTINGS = """
[imports]
files = ["logs*.jsonl"]
source = "flow"
[mining]
budget = 60
audit_share = 0.1
per_user = 60
per_session = 60
[labeling]
api_url = "http://127.0.0.1:{port}"
server_env = "{env}"
curators = ["scripted-curator"]
[dataset]
min_rows = 4
general_share = 0.05
[training]
epochs = 1
method = "activated"
max_length = 512
cache = "{cache}"
[evaluation]
max_rows = 6
max_new_tokens = 8
bootstrap = 100
forgetting_rows = 2
[schedule]
min_new_reviews = 10
silent_after_hours = 1e6
"""


class Factory:
    """Runs the command in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, code: int = 0, **environment: str) -> str:
        program = [sys.executable, "-c", "from factory.cli.app import main; main()", *words]
        done = subprocess.run(
            program,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"factory {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ask(self, *words: str, **environment: str) -> Any:
        return json.loads(self.run(*words, "--json", **environment))


@pytest.fixture
def factory(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from labeling.server.install import default_env, python

    env = Path(os.environ.get("GROUNDMILL_TEST_ARGILLA_ENV") or default_env())
    if not python(env).exists():
        pytest.fail(f"no Argilla server in {env}: run `factory label install`, or set GROUNDMILL_TEST_ARGILLA_ENV")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cache = os.environ.get("GROUNDMILL_TEST_MODELS") or str(tmp_path_factory.mktemp("models"))
    (tmp_path / "factory.toml").write_text(SETTINGS.format(port=port, env=env, cache=cache))
    spans = (ROOT / "scripts/helpcentre/logs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "logs.jsonl").write_text("".join(spans[: 3 * TRACES]))
    made = Factory(tmp_path)
    yield made
    made.run("label", "stop")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_log_lines_to_a_champion_and_back(factory: Factory) -> None:
    import curator

    factory.run("label", "serve", "--background")
    first = factory.ask("nightly")
    assert first["stages"]["import"]["files"][0]["new"] == TRACES
    state = factory.ask("label", "status")
    pushed = state["pushed"]
    assert pushed > 40 and state["queued"]["audit"] > 0

    url = state["target"].split(" ", 1)[0]
    logins = (factory.folder / ".groundmill/argilla/logins.txt").read_text().splitlines()
    password = next(line.split(" ", 1)[1] for line in logins if line.startswith("scripted-curator "))
    known = curator.questions()
    decided = curator.review(url, "scripted-curator", password, "rag-review", lambda r: curator.decide(r, known))
    assert decided.total() == pushed and decided["answer"] > 5 and decided["abstain"] > 5
    (factory.folder / "logs2.jsonl").write_text("garbage\n")
    assert json.loads(factory.run("nightly", "--json", code=3))["stages"]["pull"]["new"] == pushed
    (factory.folder / "logs2.jsonl").unlink()
    again = factory.ask("nightly")["stages"]
    assert (again["import"]["files"][0]["new"], again["mine"]["mined"], again["pull"]["new"]) == (0, 0, 0)

    refused = factory.run("retrain", "--if-due", code=5)
    assert "REFUSED" in refused
    assert factory.ask("status")["champion"] is None
    assert "nothing due" in factory.run("retrain", "--if-due")

    passed = factory.ask("retrain", **LENIENT)
    assert passed["outcome"] == "awaiting approval"
    adapter = passed["adapter_id"]
    assert passed["stages"]["train"]["reused"] is True
    assert factory.ask("status")["awaiting_approval"] == adapter
    factory.run("approve", adapter, "--by", "ada")
    assert factory.ask("status")["champion"] == adapter

    dataset = passed["stages"]["dataset"]["dataset_id"]
    taught = factory.ask("trace", adapter)
    record = json.loads((factory.folder / "datasets" / dataset / "train.jsonl").read_text().splitlines()[0])[
        "record_id"
    ]
    assert record in json.dumps(taught)
    assert adapter in json.dumps(factory.ask("trace", record))

    factory.run("rollback", "--by", "ada")
    assert factory.ask("status")["champion"] is None
