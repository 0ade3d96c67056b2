"""Result tables for tests of the report: replays of a synthetic trace, and hostile names."""

from dataclasses import asdict, replace
from functools import cache
from typing import Any

from support.small_traces import StairLatency, independent_trace
from svsim import api
from svsim.metrics.calibration import Calibration
from svsim.metrics.information import BeliefValue, Information, PaperGain
from svsim.metrics.request_sums import Estimate
from svsim.metrics.rows import ResultTable

METHODS = ("td", "sd:k=3", "sd:k=5", "sv:k=7", "oracle:k=7")
HOSTILE = (
    '<script>parent.hacked=1</script><img src="https://evil.example/x.png" onerror="parent.hacked=1">'
    "</script></style>\x1b[31m\u202e\x00'\"&amp;{{js}}%{x}" + "A" * 10_000
)


@cache
def two_machines() -> ResultTable:
    """Five methods, three batch sizes, two pieces of hardware."""
    tables = []
    for name, pad in (("first", 8), ("second", 32)):
        latency = StairLatency(pad)
        latency.hardware = name
        trace = independent_trace(60, 8, seed=1, heterogeneous=True)
        tables.append(api.replay(trace, latency=latency, methods=METHODS, batch_sizes=[1, 4, 16]))
    return replace(tables[0], rows=tables[0].rows + tables[1].rows, notes=("a note",))


def one_machine() -> ResultTable:
    """The first hardware of ``two_machines``."""
    table = two_machines()
    return replace(table, rows=tuple(r for r in table.rows if r.hardware == "first"))


def crowded() -> ResultTable:
    """``one_machine`` with twenty methods: target-only, fixed lengths, a bound, and long names."""
    table = one_machine()
    sv = [r for r in table.rows if r.method == "sv"]
    more = [
        replace(r, method=f"method-{n}", params={"k": 7, "overlap": "full", "draft_slowdown": 1.0})
        for r in sv
        for n in range(15)
    ]
    rows = sorted([*table.rows, *more], key=lambda r: r.batch_size)
    return replace(table, rows=tuple(rows))


def hostile() -> ResultTable:
    """``one_machine`` with markup, control characters and 10 kB texts wherever a file could put them."""
    table = one_machine()
    trace = {
        **table.trace,
        "file": HOSTILE,
        "models": {"target": {"name": HOSTILE, HOSTILE: [HOSTILE]}, "draft": HOSTILE},
        "acceptance_kind": HOSTILE,
        "extra": {HOSTILE: {HOSTILE: {HOSTILE: {HOSTILE: 1}}}, **{f"key {i}": i for i in range(3000)}},
    }
    rows = [replace(r, hardware=HOSTILE, latency_source=HOSTILE) for r in table.rows]
    rows += [replace(r, method=HOSTILE) for r in rows if r.method == "sv"]
    return replace(
        table, rows=tuple(rows), trace=trace, config={**table.config, HOSTILE: HOSTILE}, notes=(HOSTILE,)
    )


def information(name: str = "S and A") -> dict[str, Any]:
    """What the signals are worth, as ``svsim info --json`` has it; made-up numbers."""

    def belief(name: str, gain: Estimate, share: Estimate) -> BeliefValue:
        calibration = Calibration(error=0.012, noise=0.01, bins=())
        return BeliefValue(name, (), gain, share, Estimate(0.52), Estimate(None), calibration)

    return asdict(
        Information(
            acceptance="probability",
            num_profile_requests=512,
            num_profile_tokens=60_000,
            num_judged_requests=600,
            num_judged_tokens=70_000,
            mean_acceptance=Estimate(0.7),
            entropy_bits=Estimate(0.88),
            ceiling_bits=Estimate(0.412, 0.4, 0.42),
            beliefs=(
                belief(name, Estimate(0.1934, 0.1871, 0.2002), Estimate(0.469)),
                belief("S", Estimate(0.206), Estimate(0.5)),
                belief("draft probability", Estimate(-0.001), Estimate(-0.002)),
                belief("draft entropy", Estimate(None), Estimate(None)),
            ),
            paper=(PaperGain(5, "10x10", 1.78, 0.33, 0.01, 0.32),),
            overlap_correlation=Estimate(0.73),
        )
    )
