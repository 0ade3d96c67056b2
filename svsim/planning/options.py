"""Options of ``plan``, and what a question of it is understood as."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from svsim.deployments import MODELLED
from svsim.errors import InputError, printable, require
from svsim.open_loop.options import ServeOptions
from svsim.options import integer, several, texts
from svsim.planning.candidates import Candidate, Grid, candidates_of
from svsim.planning.traffic import Traffic
from svsim.run import Trace, open_source
from svsim.serving.arrivals import LAWS
from svsim.serving.settings import MAX_BATCHED_TOKENS, MAX_NUM_SEQS
from svsim.serving.slo import Slo

STEADY_LAWS = ("poisson", "gamma", "constant", "onoff")
MAX_CANDIDATES = 10_000
SECONDS_OF_CANDIDATE = 4.0  # of one core, about: llama70b, TTFT p99 and TPOT p95
_UNITS = (("days", 86_400.0), ("h", 3600.0), ("min", 60.0))


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options of ``plan``, which says what each is. serve: those that it shares with ``serve_sim``."""

    serve: ServeOptions
    slo: Sequence[str] | str = ()
    demand: float | str | Path | None = None
    tp: Sequence[int] | int = ()
    quant: Sequence[str] | str = ()
    max_num_seqs: Sequence[int] | int = ()
    max_num_batched_tokens: Sequence[int] | int = ()
    prune: bool = True

    @property
    def slos(self) -> tuple[Slo, ...]:
        """At least one objective."""
        found = tuple(Slo.parse(text) for text in texts("slo", self.slo))
        require(
            len(found) > 0,
            "`slo` is missing: what shall hold? Give ttft:p99=0.5, tpot:p95=0.05, good=0.95 ...",
        )
        return found

    @property
    def traffic(self) -> Traffic | None:
        """What the fleet shall carry."""
        return None if self.demand is None else Traffic.of(self.demand)

    @property
    def arrivals(self) -> str:
        """The law at one request per second."""
        name, _, rest = (self.serve.arrivals or "poisson").strip().partition(":")
        where = f"`arrivals` {printable(self.serve.arrivals, 60)}"
        if name in LAWS and name not in STEADY_LAWS:
            raise InputError(
                f"{where}: a rate is searched under a steady law; choose one of {', '.join(STEADY_LAWS)}"
            )
        if any(part.strip().startswith("rate=") for part in rest.split(",")):
            raise InputError(f"{where}: the rate is what is searched; leave it out, `demand` says yours")
        return f"{name}:rate=1{',' if rest else ''}{rest}"

    def grid(self, trace: Trace | None) -> Grid:
        """What is tried beside methods."""
        run = self.serve.run
        hardware = texts("hardware", run.hardware)
        has_times = trace is not None and open_source(trace, run.models).step_times is not None
        named = run.models.to_dict().keys() & {"target", "draft", "companion"}
        is_modelled = run.latency in MODELLED or (run.latency == "auto" and not (has_times and not named))
        seqs = [integer("max_num_seqs", n, 1, MAX_NUM_SEQS) for n in several(self.max_num_seqs)]
        tokens = [
            integer("max_num_batched_tokens", n, 1, MAX_BATCHED_TOKENS)
            for n in several(self.max_num_batched_tokens)
        ]
        degrees = [integer("tp", n, 1, 1024) for n in several(self.tp)]
        quant = texts("quant", self.quant)
        for name, given in (("tp", degrees), ("quant", quant)):
            require(
                not given or len(hardware) > 0,
                f"`{name}` is of the hardware that is named; give `hardware` too",
            )
        return Grid.of(hardware, degrees, quant, (seqs, tokens), is_modelled)

    def candidates(self, trace: Trace | None, grid: Grid) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """Everything checked; InfeasibleError if nothing fits."""
        serve = replace(self.serve, arrivals=self.arrivals, slo=texts("slo", self.slo), replicas=1)
        return candidates_of(trace, serve, grid)


def check_size(num: int, jobs: int) -> str | None:
    """What to say before a long search; InputError before one that would take days."""
    seconds = num * SECONDS_OF_CANDIDATE / jobs
    if num > MAX_CANDIDATES:
        raise InputError(
            f"{num:,} candidates would take about {duration_words(seconds)} on {jobs} cores; at most "
            f"{MAX_CANDIDATES:,}: name fewer methods, hardware, `max_num_seqs` or `max_num_batched_tokens`"
        )
    if seconds < 60.0:
        return None
    return (
        f"{num:,} candidates: about {duration_words(seconds)} on {jobs} cores, less what is ruled out first"
    )


def duration_words(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h``, ``4 days``."""
    for unit, length_s in _UNITS:
        if seconds >= 2.0 * length_s:
            return f"{seconds / length_s:,.0f} {unit}"
    return f"{seconds:,.0f} s"
