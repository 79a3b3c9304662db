"""Programs that tests run beside themselves, and whether their processes have ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(folder: Path, text: str, *arguments: str) -> "subprocess.Popen[str]":
    """Run a program in a session of its own, so that a signal to its group reaches its processes alone."""
    file = folder / "program.py"
    file.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(file), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def gone(pid: int) -> bool:
    """Whether a process ends within a minute."""
    for _ in range(600):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False
