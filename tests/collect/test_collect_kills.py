import subprocess
import sys

import pytest

from tests.collect.otlp_examples import ROOT


@pytest.mark.slow
def test_every_acknowledged_span_is_there_after_a_kill() -> None:
    command = [sys.executable, str(ROOT / "scripts/collector_campaign.py"), "--rounds", "2", "--traces", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none was lost" in done.stdout
