"""How far predicted goodputs are from measured ones, and whether they lead to the same choices.

Words
-----
goodput error   predicted / measured - 1, per method and batch size.
speedup error   the same of goodput / baseline, the baseline being that of its own side: target-only
                decoding (td), and, for adaptive methods, the best fixed length (sd) at that batch size.
common scale    geometric mean of predicted / measured: an error all predictions share. It cancels in
                speedups, crossovers and recommendations.
crossover       smallest batch size from which on target-only decoding is at least as fast as the method,
                up to the largest measured; None: the method wins at the largest.
regret          goodput lost at a batch size by running the method predicted to be fastest instead of the
                one measured to be fastest: 1 - measured(recommended) / measured(best).
marginal error  error of the seconds that one more verified token adds (a slope at a fixed batch size).
Mean and worst errors are of absolute values.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from svsim.errors import InputError

# what the project aims for; docs/validation.md tells what was reached
TARGETS = {
    "goodput_error_mean": 0.03,
    "goodput_error_worst": 0.08,
    "speedup_error_mean": 0.02,
    "marginal_error_mean": 0.10,
    "crossover_grid_steps_worst": 1.0,
    "regret_worst": 0.01,
}


@dataclass(frozen=True, slots=True)
class GoodputPair:
    """One method (``sv:k=7``) at one batch size: predicted and measured tokens per second.

    measured_standard_error: of the mean over repeats, None for a single measurement.
    """

    label: str
    batch_size: int
    predicted_tok_s: float
    measured_tok_s: float
    measured_standard_error: float | None = None

    @property
    def method(self) -> str:
        """The method's name without its options."""
        return self.label.partition(":")[0]


@dataclass(frozen=True, slots=True)
class MarginalPair:
    """Seconds that one more verified token adds to a step at a fixed batch size."""

    batch_size: int
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float | None:
        """Relative error; None where the measured slope is not positive (then there is none to predict)."""
        return self.predicted_s / self.measured_s - 1.0 if self.measured_s > 0 else None


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """A pair with its errors; speedups are None without a baseline at that batch size."""

    label: str
    batch_size: int
    predicted_tok_s: float
    measured_tok_s: float
    measured_standard_error: float | None
    goodput_error: float
    predicted_speedup_vs_td: float | None
    measured_speedup_vs_td: float | None
    speedup_vs_td_error: float | None
    predicted_speedup_vs_sd: float | None
    measured_speedup_vs_sd: float | None
    speedup_vs_sd_error: float | None


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where a method stops paying, by either side, and how many steps of the batch grid they differ."""

    label: str
    predicted_batch: int | None
    measured_batch: int | None
    grid_steps_apart: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The method recommended at a batch size and the one that was fastest."""

    batch_size: int
    recommended: str
    fastest: str
    regret: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Everything that is said about one comparison."""

    rows: tuple[AccuracyRow, ...]
    crossovers: tuple[Crossover, ...]
    choices: tuple[Choice, ...]
    marginals: tuple[MarginalPair, ...]
    common_scale: float

    def summary(self) -> dict[str, float | None]:
        """The figures of the report; None where nothing was measured that would tell."""
        goodput = [abs(row.goodput_error) for row in self.rows]
        speedups = _known(e for r in self.rows for e in (r.speedup_vs_td_error, r.speedup_vs_sd_error))
        marginal = _known(pair.error for pair in self.marginals)
        return {
            "goodput_error_mean": _mean(goodput),
            "goodput_error_worst": max(goodput),
            "common_scale_error": self.common_scale - 1.0,
            "speedup_error_mean": _mean(speedups),
            "speedup_error_worst": max(speedups, default=None),
            "marginal_error_mean": _mean(marginal),
            "marginal_error_worst": max(marginal, default=None),
            "crossover_grid_steps_worst": max(
                (float(c.grid_steps_apart) for c in self.crossovers), default=None
            ),
            "regret_mean": _mean([c.regret for c in self.choices]),
            "regret_worst": max((c.regret for c in self.choices), default=None),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: summary, targets, rows, crossovers, choices, marginals."""
        return {
            "summary": self.summary(),
            "targets": dict(TARGETS),
            "rows": [asdict(row) for row in self.rows],
            "crossovers": [asdict(c) for c in self.crossovers],
            "choices": [asdict(c) for c in self.choices],
            "marginals": [{**asdict(m), "error": m.error} for m in self.marginals],
        }


def accuracy(pairs: Sequence[GoodputPair], marginals: Sequence[MarginalPair] = ()) -> Accuracy:
    """Errors and choices of the pairs, one per (method, batch size). Raises InputError without any."""
    if not pairs:
        raise InputError("nothing to compare: no method and batch size is both predicted and measured")
    by_batch: dict[int, list[GoodputPair]] = {}
    for pair in sorted(pairs, key=lambda p: p.batch_size):
        by_batch.setdefault(pair.batch_size, []).append(pair)
    rows = [_row(pair, cell) for cell in by_batch.values() for pair in cell]
    logs = [math.log(p.predicted_tok_s / p.measured_tok_s) for p in pairs]
    return Accuracy(
        tuple(rows),
        tuple(_crossovers(by_batch)),
        tuple(_choice(size, cell) for size, cell in by_batch.items() if len(cell) > 1),
        tuple(marginals),
        math.exp(sum(logs) / len(logs)),
    )


def _row(pair: GoodputPair, cell: Sequence[GoodputPair]) -> AccuracyRow:
    """A pair against the baselines measured at its batch size."""
    target_only = [p for p in cell if p.method == "td"]
    fixed = [p for p in cell if p.method == "sd"]
    vs_td = _speedups(pair, target_only if pair.method != "td" else [])
    vs_sd = _speedups(pair, fixed if pair.method not in ("td", "sd") else [])
    error = pair.predicted_tok_s / pair.measured_tok_s - 1.0
    return AccuracyRow(
        pair.label,
        pair.batch_size,
        pair.predicted_tok_s,
        pair.measured_tok_s,
        pair.measured_standard_error,
        error,
        *vs_td,
        *vs_sd,
    )


def _speedups(
    pair: GoodputPair, baselines: Sequence[GoodputPair]
) -> tuple[float | None, float | None, float | None]:
    """Predicted and measured speedup over the best baseline of each side, and the error."""
    if not baselines:
        return None, None, None
    predicted = pair.predicted_tok_s / max(b.predicted_tok_s for b in baselines)
    measured = pair.measured_tok_s / max(b.measured_tok_s for b in baselines)
    return predicted, measured, predicted / measured - 1.0


def _crossovers(by_batch: Mapping[int, Sequence[GoodputPair]]) -> Iterable[Crossover]:
    labels = dict.fromkeys(p.label for cell in by_batch.values() for p in cell if p.method != "td")
    for label in labels:
        grid, predicted, measured = [], [], []
        for size, cell in by_batch.items():
            mine = next((p for p in cell if p.label == label), None)
            base = next((p for p in cell if p.method == "td"), None)
            if mine is not None and base is not None:
                grid.append(size)
                predicted.append(mine.predicted_tok_s > base.predicted_tok_s)
                measured.append(mine.measured_tok_s > base.measured_tok_s)
        if grid:
            ends = [_first_of_lasting_loss(wins) for wins in (predicted, measured)]
            sizes = [grid[e] if e < len(grid) else None for e in ends]
            yield Crossover(label, sizes[0], sizes[1], abs(ends[0] - ends[1]))


def _first_of_lasting_loss(wins: Sequence[bool]) -> int:
    """Index from which on the method never wins; the length if it wins at the last."""
    index = len(wins)
    while index > 0 and not wins[index - 1]:
        index -= 1
    return index


def _choice(batch_size: int, cell: Sequence[GoodputPair]) -> Choice:
    recommended = max(cell, key=lambda p: p.predicted_tok_s)
    fastest = max(cell, key=lambda p: p.measured_tok_s)
    regret = 1.0 - recommended.measured_tok_s / fastest.measured_tok_s
    return Choice(batch_size, recommended.label, fastest.label, regret)


def _known(values: Iterable[float | None]) -> list[float]:
    """Absolute values of those that are defined."""
    return [abs(v) for v in values if v is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
