import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.cli.app import app

RUN = CliRunner()


def factory(*words: str, folder: Path | None = None) -> tuple[int, str, str]:
    config = ["-c", str(folder / "factory.toml")] if folder else []
    result = RUN.invoke(app, [*config, *words], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "factory.toml").write_text("")
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom factory.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'argilla', 'pandas', 'datasets', 'sqlmodel', 'sqlalchemy', 'pydantic'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "loaded: []" in shown.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["import", "none.jsonl"], 3, "none.jsonl"),
        (["import", "."], 3, "folder"),
        (["import"], 2, "Missing argument"),
        (["mine"], 4, "factory import"),
        (["findings", "list", "--failure", "bad"], 2, "unfaithful"),
        (["findings", "show", "abcd"], 3, "abcd"),
        (["trace", "abcd"], 3, "abcd"),
        (["dataset", "build"], 4, "factory"),
        (["dataset", "show"], 4, "factory dataset build"),
        (["train"], 4, "factory dataset build"),
        (["eval"], 4, "factory train"),
        (["gate"], 4, "factory train"),
        (["approve", "abcd", "--by", "me"], 4, "factory train"),
        (["rollback", "--by", "me"], 4, "promot"),
        (["status"], 4, "factory import"),
        (["label", "push"], 4, "FACTORY_ARGILLA_API_KEY"),
        (["retrain", "--if-due"], 0, "nothing due"),
        (["retrain"], 4, "factory"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_step_out_of_order_or_wrong_input_is_one_clear_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FACTORY_LABELING__API_URL", "http://127.0.0.1:9")
    exit_code, out, error = factory(*words, folder=folder)
    assert (exit_code, "Traceback" in out + error) == (code, False)
    assert says in out + error


def test_an_unusable_store_is_said_clearly(folder: Path) -> None:
    (folder / "groundmill.db").write_bytes(b"this is no database" * 100)
    code, _, error = factory("mine", folder=folder)
    assert code in (2, 3)
    assert "groundmill.db" in error and "Traceback" not in error


def test_log_text_cannot_steer_the_terminal() -> None:
    from logs_schema.visible import visible

    assert visible("a\x1b[2Jb\x07c\u202ed\ne") == "a␛[2Jb␇c\ufffdd\ne"
