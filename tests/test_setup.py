"""`scripts/setup`: which torch it asks pip for. A recorder stands in for Python: nothing is fetched."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED = next(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.startswith("torch=="))
OTHER = "torch==2.12.1 --index-url https://wheels.example/cu126"
SAME_VERSION = f"{PINNED} --index-url https://wheels.example/cpu"


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for name in ("python", "factory"):
        file = tmp_path / "bin" / name
        file.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
        file.chmod(0o755)
    return tmp_path


def asked(venv: Path, torch: str | None) -> list[str]:
    """What pip was asked for, without the words that every call has."""
    log = venv / "asked"
    log.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "GROUNDMILL_TORCH"}
    environment |= {"GROUNDMILL_VENV": str(venv)} | ({"GROUNDMILL_TORCH": torch} if torch else {})
    subprocess.run([ROOT / "scripts/setup", "train"], env=environment, check=True, capture_output=True)
    calls = log.read_text().splitlines() if log.exists() else []
    return [call.removeprefix("-m pip --disable-pip-version-check ").removesuffix(" --quiet") for call in calls]


def test_another_build_of_torch_replaces_the_one_that_is_there_and_stays_chosen(venv: Path) -> None:
    first = asked(venv, None)
    assert first[0] == f"install {PINNED}" and "--constraint requirements.lock" in first[1]
    assert asked(venv, None) == []

    other = asked(venv, OTHER)
    assert other[:2] == ["uninstall --yes torch", f"install {OTHER}"]
    constraints = Path(other[2].split("--constraint ")[1].split(" ")[0])
    kept = constraints.read_text().splitlines()
    assert PINNED not in kept and len(kept) == len((ROOT / "requirements.lock").read_text().splitlines()) - 1
    assert asked(venv, OTHER) == asked(venv, None) == []

    assert asked(venv, SAME_VERSION)[:2] == ["uninstall --yes torch", f"install {SAME_VERSION}"]
    assert asked(venv, PINNED)[:2] == ["uninstall --yes torch", f"install {PINNED}"]
    assert asked(venv, None) == []
