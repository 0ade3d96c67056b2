"""Damaged inputs by the thousand: a clean one-line error or a sound result, nothing else.

    python tests/fuzz/campaign.py --traces 10000 --others 10000

All cases run in this process. A crash is any exception that is not an error of svsim, or an error of more
than one printable line; a silent change is a trace with damaged bytes that is read as another trace.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from fuzz import cases  # noqa: E402
from fuzz.mutations import damaged_bytes  # noqa: E402
from support.trace_examples import assert_same_trace  # noqa: E402

from svsim.errors import SvsimError  # noqa: E402

SLOW_S = 10.0


@dataclass
class Counts:
    """Outcomes by kind of input, and what went wrong."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def run(self, kind: str, number: int, case: Callable[[], str]) -> None:
        """Run one case; ``case`` says how a sound result is to be called."""
        start = time.perf_counter()
        try:
            outcome = case()
        except SvsimError as error:
            message = str(error)
            outcome = "refused" if message.isprintable() and error.exit_code in (2, 3) else "crash"
            if outcome == "crash":
                self.failures.append(f"{kind} {number}: {type(error).__name__}: {message[:200]!r}")
        except Exception as error:
            outcome = "crash"
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {str(error)[:200]!r}"
            self.failures.append(f"{kind} {number}: {what} at {last.filename}:{last.lineno}")
        if time.perf_counter() - start > SLOW_S:
            self.failures.append(f"{kind} {number}: took longer than {SLOW_S:g} s")
        if outcome == "changed silently":
            self.failures.append(f"{kind} {number}: read as another trace")
        self.outcomes[kind, outcome] += 1

    def lines(self) -> list[str]:
        """One line per kind of input, and the failures."""
        kinds = sorted({kind for kind, _ in self.outcomes})
        table = []
        for kind in kinds:
            found = {o: n for (k, o), n in sorted(self.outcomes.items()) if k == kind}
            table.append(f"{kind:28}" + ", ".join(f"{outcome} {count:,}" for outcome, count in found.items()))
        return [
            *table,
            f"cases {sum(self.outcomes.values()):,}, failures {len(self.failures):,}",
            *self.failures,
        ]


def run_campaign(num_traces: int, num_others: int, seed: int = 0) -> Counts:
    """Damage and read that many traces and other inputs."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        folder = Path(name)
        sound = cases.sound_traces(folder)
        for number in range(num_traces):
            _one_trace(counts, sound, folder / "t", seed, number)
        kinds = [*cases.FILES, "table", *(f"words {kind}" for kind in cases.WORDS)]
        for number in range(num_others):
            kind = kinds[number % len(kinds)]
            path = folder / cases.file_name(kind)
            counts.run(kind, number, lambda kind=kind, path=path, n=number: _other(kind, path, seed, n))
    return counts


def _one_trace(counts: Counts, sound: list[tuple[bytes, Any]], path: Path, seed: int, number: int) -> None:
    rng = np.random.default_rng((seed, 0, number))
    if number % 4 == 3:
        cases.write_wrong_trace(rng, path)
        counts.run("trace, wrong contents", number, lambda: cases.read_trace(path) and "read")
        return
    data, expected = sound[number % len(sound)]
    damaged = damaged_bytes(data, rng)
    path.write_bytes(damaged)
    counts.run("trace, damaged bytes", number, lambda: _compared(path, expected))


def _compared(path: Path, expected: Any) -> str:
    found = cases.read_trace(path)
    try:
        assert_same_trace(found, expected)
        assert (found.step_times is None) == (expected.step_times is None)
        for name, values in (expected.step_times or {}).items():
            np.testing.assert_array_equal(found.step_times[name], values)
    except AssertionError:
        return "changed silently"
    return "read, the same"


def _other(kind: str, path: Path, seed: int, number: int) -> str:
    rng = np.random.default_rng((seed, 1, number))
    if kind == "table":
        cases.read_damaged_table(rng, path)
    elif kind.startswith("words "):
        cases.read_damaged_words(kind.removeprefix("words "), rng)
    else:
        cases.read_damaged_file(kind, rng, path)
    return "read"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--others", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    start = time.perf_counter()
    counts = run_campaign(asked.traces, asked.others, asked.seed)
    print("\n".join(counts.lines()))
    print(f"{time.perf_counter() - start:.0f} s, seed {asked.seed}")
    return bool(counts.failures)


if __name__ == "__main__":
    sys.exit(main())
