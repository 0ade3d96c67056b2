"""One answer per batch size: the best method, how sure its speedup is, and what to do about it.

The error bar of a speedup holds prices and sampling (``svsim.metrics.verdict``: 90 %). Where acceptance was
recorded at one k and the method drafts another, its ends are moved by the least and the most that the
recorded rates leave room for (``svsim.synthetic.reported``), and by what dense recordings lay beyond that: a
step takes the time it takes, but emits fewer or more tokens.

    seconds per token = step / L + prefill per token        L: mean acceptance length

So the same rows tell the acceptance length below which speculation loses: the break-even.
"""

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from svsim.advice.evidence import Evidence
from svsim.metrics.rows import ResultRow
from svsim.metrics.verdict import Answer, error_bar
from svsim.synthetic.reported import Assumption

AS_GOOD = 1.01  # ratio of speedups within which the length nearest to the recorded one is taken
# Of acceptance lengths at other k: as far as dense recordings lie outside the range of their rates at one k
# (tests/importing/test_dense_recordings.py).
BEYOND_RANGE = 0.02


@dataclass(frozen=True, slots=True)
class Advice:
    """One batch size on one hardware.

    method, params: the best method that surely pays, else the best that speculates, whatever the
    verdict; ``td`` where none does or fits, then speedup_vs_td, low and high are None. low, high: where its
    speedup lies in 90 % of cases.
    drafter: None where the method leaves it open. use: what to run meanwhile (``td`` or the method).
    is_assumed: acceptance at this k was not recorded. break_even_acceptance_length: below it ``td`` is
    faster. usd_per_million_tokens: of what to use. measure_with: the command that settles it.
    """

    batch_size: int
    method: str
    params: dict[str, int | float | str]
    speedup_vs_td: float | None
    low: float | None
    high: float | None
    verdict: Answer
    hardware: str
    drafter: str | None
    use: str
    is_assumed: bool
    fits_memory: bool | None
    mean_acceptance_length: float | None
    break_even_acceptance_length: float | None
    goodput_tok_s: float | None
    tpot_s: float | None
    usd_per_million_tokens: float | None
    usd_per_million_tokens_td: float | None
    measure_with: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "verdict": self.verdict.value}

    @property
    def num_draft_tokens(self) -> int:
        """Of the method, where it is better than ``td`` as far as is known; else 0."""
        return int(self.params.get("k", 0)) if self.use != "td" else 0


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A row with the evidence it rests on, and the words of the command that measures it."""

    row: ResultRow
    evidence: Evidence
    drafter: str | None
    options: str

    @property
    def k(self) -> int:
        """Draft tokens per step."""
        return int(self.row.params.get("k", 0))

    @property
    def is_assumed(self) -> bool:
        """Whether its acceptance was recorded at another k."""
        recorded = self.evidence.recorded_k
        return recorded is not None and self.k != recorded

    @property
    def distance(self) -> tuple[int, int]:
        """From the recorded length; the shorter of two."""
        return abs(self.k - (self.evidence.recorded_k or self.k)), self.k

    def speedup_if(self, length: float) -> float:
        """The speedup over td at that mean acceptance length."""
        row, now = self.row, self.row.mean_acceptance_length or 1.0
        step, prefill = row.step_time_s or 0.0, (row.prefill_time_s or 0.0) / now
        return (row.speedup_vs_td or 0.0) * (step / now + prefill) / (step / length + prefill)

    def length_if(self, assumption: Assumption) -> float:
        """The mean acceptance length at this k if it accepts as the assumption says."""
        length = self.row.mean_acceptance_length or 1.0
        if not self.is_assumed:
            return length
        beyond = 1.0 + BEYOND_RANGE * (1 if assumption == "high" else -1)
        return max(length * self.evidence.share_of_assumed(self.k, assumption) * beyond, 1.0)

    def error_bar(self) -> tuple[float, float]:
        """90 %: prices, sampling, and what is assumed of this k."""
        low, high = error_bar(self.row)
        least, most = (self.speedup_if(self.length_if(word)) for word in ("low", "high"))
        speedup = self.row.speedup_vs_td or 1.0
        return low * least / speedup, high * most / speedup

    def break_even(self) -> float | None:
        """The mean acceptance length at which it is as fast as td; None where no length is."""
        row, speedup = self.row, self.row.speedup_vs_td
        if not speedup or row.step_time_s is None or row.mean_acceptance_length is None:
            return None
        length, prefill = row.mean_acceptance_length, (row.prefill_time_s or 0.0)
        of_td = speedup * (row.step_time_s + prefill) / length
        rest = of_td - prefill / length
        return row.step_time_s / rest if rest > 0 else None


def decide(baselines: Iterable[ResultRow], candidates: Sequence[Candidate]) -> tuple[Advice, ...]:
    """Advice for every baseline (``td``) row, from the candidates of its hardware and batch size."""
    made = []
    for td in baselines:
        cell = [c for c in candidates if _cell(c.row) == _cell(td)]
        running = [c for c in cell if c.row.speedup_vs_td is not None]
        made.append(_of_best(td, _best(running)) if running else _nothing(td, bool(cell)))
    return tuple(made)


def _cell(row: ResultRow) -> tuple[str, int]:
    return row.deployment, row.batch_size


def _best(running: Sequence[Candidate]) -> Candidate:
    """The fastest of those that surely pay, else of all; of those as good, the one that is known best.

    Compared by the middle of their ranges: a guess that may go wrong further than right counts for less.
    """
    ranges = {c: c.error_bar() for c in running}
    pool = [c for c in running if ranges[c][0] > 1.0] or running
    middle = {c: math.sqrt(math.prod(ranges[c])) for c in pool}
    top = max(middle.values())
    return min((c for c in pool if middle[c] * AS_GOOD >= top), key=lambda c: c.distance)


def _nothing(td: ResultRow, is_short_of_memory: bool) -> Advice:
    """Nothing speculates here: there is no drafter, or with it the batch does not fit in memory."""
    fits = False if is_short_of_memory else td.fits_memory
    about: dict[str, Any] = dict.fromkeys(
        ("mean_acceptance_length", "break_even_acceptance_length", "measure_with", "drafter")
    )
    return Advice(
        batch_size=td.batch_size,
        method="td",
        params={},
        speedup_vs_td=None,
        low=None,
        high=None,
        verdict=Answer.DO_NOT,
        hardware=td.deployment,
        use="td",
        is_assumed=False,
        fits_memory=fits,
        goodput_tok_s=td.goodput_tok_s,
        tpot_s=td.tpot_s,
        usd_per_million_tokens=td.usd_per_million_tokens,
        usd_per_million_tokens_td=td.usd_per_million_tokens,
        **about,
    )


def _of_best(td: ResultRow, best: Candidate) -> Advice:
    low, high = best.error_bar()
    row, speedup = best.row, best.row.speedup_vs_td or 0.0
    verdict = Answer.SPECULATE if low > 1.0 else Answer.DO_NOT if high < 1.0 else Answer.MEASURE
    used = row if verdict is not Answer.DO_NOT and speedup > 1.0 else td
    return Advice(
        batch_size=td.batch_size,
        method=row.method,
        params=dict(row.params),
        speedup_vs_td=speedup,
        low=low,
        high=high,
        verdict=verdict,
        hardware=td.deployment,
        drafter=best.drafter,
        use=used.label,
        is_assumed=best.is_assumed,
        fits_memory=row.fits_memory,
        mean_acceptance_length=row.mean_acceptance_length,
        break_even_acceptance_length=best.break_even(),
        goodput_tok_s=used.goodput_tok_s,
        tpot_s=used.tpot_s,
        usd_per_million_tokens=used.usd_per_million_tokens,
        usd_per_million_tokens_td=td.usd_per_million_tokens,
        measure_with=measuring_command(best) if verdict is Answer.MEASURE else None,
    )


def measuring_command(best: Candidate) -> str:
    """Two runs on the server, with and without, settle what neither prices nor recorded rates do."""
    first, trace = best.evidence.trace_for(best.k)
    return (
        f"{f'{first} && ' if first else ''}svsim validate {shlex.quote(trace)} --bench RESULTS.csv "
        f"--hardware {best.row.deployment}{best.options}"
    )
