"""How many steps of fixed-length speculation would have been better left to the target alone."""

from collections.abc import Sequence

from svsim.decoding.drafters import MODEL, Drafter
from svsim.decoding.presets import fixed_length, target_only
from svsim.deployments import PricesAsked
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import LatencyError
from svsim.metrics.acceptance import law_of_emitted, probability_below
from svsim.metrics.trace_information import SlowSteps
from svsim.progress import OnProgress
from svsim.records import RunRecord
from svsim.trace.parts import MemorySource, Source
from svsim.trace.token_trace import TokenTrace

BATCH_SIZES = (1, 8, 32, 64)
LENGTHS = (1, 3, 5, 7)


def slow_steps_of(
    source: Source,
    trace: TokenTrace,
    prices: PricesAsked,
    seed: int,
    jobs: int,
    notes: list[str],
    drafter: Drafter | None = None,
    progress: OnProgress | None = None,
) -> tuple[str | None, tuple[SlowSteps, ...]]:
    """(deployment, slow steps of SD(k) per batch size) at the first deployment of ``prices``.

    Without step times in the trace, or where they do not cover it, (None, ()) and a note. Raises
    LatencyError only where step times other than the trace's own were asked for.
    """
    try:
        priced = prices.priced(source)[0]
        deployment = Deployment(priced.latency, spec=priced.spec)
        records = _replay(trace, deployment, seed, jobs, drafter or MODEL, progress)
    except LatencyError as error:
        if not prices.is_default:
            raise
        notes.append(f"no slow steps: {error}")
        return None, ()
    return deployment.name, _compare(trace, records)


def _replay(
    trace: TokenTrace,
    deployment: Deployment,
    seed: int,
    jobs: int,
    drafter: Drafter,
    progress: OnProgress | None,
) -> list[RunRecord]:
    lengths = [k for k in LENGTHS if k <= trace.num_speculative_tokens]
    settings = RunSettings(
        methods=(target_only(), *(fixed_length(k).with_drafter(drafter) for k in lengths)),
        batch_sizes=BATCH_SIZES,
        trim_batch_sizes=True,
        profile_split=0.0,
        seed=seed,
        jobs=jobs,
    )
    return ClosedLoopReplay(prepare(MemorySource(trace), settings, [deployment])).run(progress)


def _compare(trace: TokenTrace, records: Sequence[RunRecord]) -> tuple[SlowSteps, ...]:
    td_step_s = {r.batch_size: _step_s(r) for r in records if r.method == "td"}
    laws = {
        k: law_of_emitted(trace, k) for k in {r.num_speculative_tokens for r in records if r.method == "sd"}
    }
    found = []
    for record in (r for r in records if r.method == "sd"):
        k, batch_size, step_s = record.num_speculative_tokens, record.batch_size, _step_s(record)
        least = batch_size * step_s / td_step_s[batch_size]
        share = probability_below(laws[k], batch_size, least)
        found.append(SlowSteps(k, batch_size, share, step_s, td_step_s[batch_size]))
    return tuple(found)


def _step_s(record: RunRecord) -> float:
    """Mean seconds of a step."""
    return float(record.sums.seconds.sum() / record.sums.steps.sum())
