"""What benchmarks have in common: steps in processes of their own, and the table that they end with."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    baseline: str
    ratio: float | None
    """None: reported, without a bar."""
    bar: tuple[str, float] | None
    """(`>=` or `<=`, ratio)."""
    on: str
    """What it was measured on, and how many."""

    @property
    def holds(self) -> bool:
        """Whether the ratio meets the bar."""
        if self.bar is None or self.ratio is None:
            return True
        sign, bound = self.bar
        return self.ratio >= bound if sign == ">=" else self.ratio <= bound


def table(figures: list[Figure]) -> str:
    """A Markdown table."""
    lines = ["| figure | measured | baseline | ratio | bar | measured on |", "|---|---|---|---:|---:|---|"]
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        bar = f"{one.bar[0]} {one.bar[1]}{'' if one.holds else ' (missed)'}" if one.bar else ""
        lines.append(f"| {one.what} | {one.measured} | {one.baseline} | {ratio} | {bar} | {one.on} |")
    return "\n".join(lines)


def told(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def apart(script: str, step: str, *arguments: str) -> dict[str, Any]:
    """What a step of a script prints, run in a process of its own, so that its peak memory is its own."""
    told(f"{step} {' '.join(arguments)}")
    done = subprocess.run([sys.executable, script, "--step", step, *arguments], check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_step(steps: dict[str, Callable[..., dict[str, Any]]], step: str, arguments: list[str]) -> None:
    """Run a step here, and print what it gives with its peak memory in MB, that of its largest child included."""
    found = steps[step](*arguments)
    peaks = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({**found, "peak": round(peaks / (2**20 if sys.platform == "darwin" else 2**10), 1)}))


@contextmanager
def timed(into: dict[str, Any], name: str = "") -> Iterator[None]:
    """Put the seconds of the block into a dict: by the clock, and of the processors, ended children included."""
    clock, cpu = time.perf_counter(), _cpu()
    yield
    into[f"{name}seconds"] = into.get(f"{name}seconds", 0.0) + time.perf_counter() - clock
    into[f"{name}cpu"] = into.get(f"{name}cpu", 0.0) + _cpu() - cpu


def _cpu() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime
