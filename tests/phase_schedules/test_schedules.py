"""Phases added pass by pass, and the search: branch and bound finds what trying everything finds."""

import math

import numpy as np
import pytest
from support.small_traces import LINEAR, StairLatency

from svsim.errors import InfeasibleError, InputError
from svsim.latency.linear import LinearLatency
from svsim.latency.shape import Role, StepShape
from svsim.phase_schedules.phase_times import ModelTimes, PhaseTimes, PublishedTimes
from svsim.phase_schedules.residency import Law, OutputLengths
from svsim.phase_schedules.schedules import Box, Kind, Limits, PhaseModel
from svsim.phase_schedules.search import branch_and_bound, exhaustive

LENGTHS = OutputLengths.truncated_normal(20, 9, 50)
LATENCY = LinearLatency.from_json(LINEAR, "linear")
TABLE_7 = PublishedTimes(1.68, 52, 0.038)


def slowly(be: int, nd: int, law: Law) -> tuple[float, float]:
    """Seconds of encoding and of decoding: one length, one stage, one pass after another."""
    shares = LENGTHS.probability
    if law is Law.PAPER:
        shares = np.array([p / math.ceil(s / nd) for s, p in enumerate(shares, 1)])
        shares = shares / shares.sum()
    decode_s = 0.0
    for u in range(1, nd + 1):
        queries = kv = 0.0
        for s, share in enumerate(shares, 1):
            for stage in range(math.ceil(s / nd)):
                if stage * nd + u <= s:
                    queries += be * share
                    kv += be * share * (100 + stage * nd + u - 1)
        pass_s = one_pass(max(queries, 1.0), max(queries, 1.0), kv)
        decode_s += pass_s * min(queries, 1.0)
    return one_pass(be, 100.0 * be, 0.0), decode_s


def one_pass(sequences: float, tokens: float, kv: float) -> float:
    shape = StepShape(Role.TARGET, sequences, tokens, kv)
    return float(LATENCY.predict_s(shape)) + LATENCY.overhead_per_step_s


@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize(("be", "nd"), [(1, 1), (1, 60), (6, 13), (40, 50)])
def test_a_phase_is_its_passes_one_after_another(law: Law, be: int, nd: int) -> None:
    found = PhaseModel("rra", LENGTHS, 100, ModelTimes(LATENCY), law).at(be, nd)
    encode_s, decode_s = slowly(be, nd, law)
    assert (found.encode_s, found.decode_s) == pytest.approx((encode_s, decode_s))
    assert found.phase_s == pytest.approx(encode_s + decode_s)
    assert found.throughput == pytest.approx(be / found.phase_s)
    assert found.latency_s == pytest.approx(math.ceil(LENGTHS.quantile(0.99) / nd) * found.phase_s)


def test_waa_lasts_as_long_as_the_longer_side() -> None:
    found = PhaseModel("waa", LENGTHS, 100, ModelTimes(LATENCY), Law.PAPER).at(6)
    encode_s, decode_s = slowly(6, 1, Law.RESIDENT)  # its published rule is the resident one
    assert found.phase_s == pytest.approx(max(encode_s, decode_s)) and found.law is Law.RESIDENT
    assert found.bd == pytest.approx(6 * LENGTHS.mean)
    assert found.latency_s == pytest.approx(encode_s + LENGTHS.quantile(0.99) * found.phase_s)


def test_published_times_scale_with_queries() -> None:
    found = PhaseModel("rra", LENGTHS, 256, TABLE_7, tail_tokens=63).at(26, 10)
    assert found.phase_s == pytest.approx(0.84 + 0.38) and found.latency_s == pytest.approx(7 * 1.22)


@pytest.mark.parametrize("kind", ["rra", "waa"])
@pytest.mark.parametrize("law", Law)
@pytest.mark.parametrize(
    "times", [ModelTimes(LATENCY), ModelTimes(StairLatency()), TABLE_7], ids=["linear", "stairs", "published"]
)
@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(latency_s=2.5),
        Limits(num_kv_tokens=3000.0),
        Limits(latency_s=4.0, num_kv_tokens=6000),
    ],
    ids=["free", "latency", "memory", "both"],
)
def test_branch_and_bound_finds_the_best_of_all(
    kind: Kind, law: Law, times: PhaseTimes, limits: Limits
) -> None:
    model = PhaseModel(kind, LENGTHS, 100, times, law)
    box = Box((1, 60), (1, 25) if kind == "rra" else (1, 1))
    try:
        best = exhaustive(model, box, limits).best
    except InfeasibleError as error:
        with pytest.raises(InfeasibleError) as other:
            branch_and_bound(model, box, limits)
        assert str(other.value) == str(error)
        return
    found = branch_and_bound(model, box, limits)
    assert found.best == best
    assert found.num_priced <= found.num_points == (60 * 25 if kind == "rra" else 60)


def test_branch_and_bound_prices_few_points() -> None:
    model = PhaseModel("rra", LENGTHS, 100, ModelTimes(LATENCY))
    found = branch_and_bound(model, Box((1, 256), (1, 64)), Limits(latency_s=3.0))
    assert found.num_priced < 0.05 * found.num_points
    assert found.best == exhaustive(model, Box((1, 256), (1, 64)), Limits(latency_s=3.0)).best


def test_the_latency_in_phases_is_no_monotone_function() -> None:
    """Why the values at two corners are no bounds: a longer phase can have the shorter p99."""
    model = PhaseModel("rra", LENGTHS, 100, ModelTimes(LATENCY))
    latency = [model.at(20, nd).latency_s for nd in range(1, 30)]
    steps = np.sign(np.diff(latency))
    assert {-1.0, 1.0} <= set(steps[5:])


def test_what_cannot_be_met_names_the_closest() -> None:
    model = PhaseModel("rra", LENGTHS, 100, ModelTimes(LATENCY))
    with pytest.raises(
        InfeasibleError, match=r"no rra schedule keeps a latency of 0.1 s; the closest is rra:be="
    ):
        exhaustive(model, Box((1, 4), (1, 4)), Limits(latency_s=0.1))


def test_points_that_are_no_schedules() -> None:
    model = PhaseModel("waa", LENGTHS, 100, TABLE_7)
    for be, nd, says in ((0, 1, "be=0 is out of range"), (1, 0, "nd=0"), (4, 2, "waa: nd=2")):
        with pytest.raises(InputError, match=says):
            model.at(be, nd)
    with pytest.raises(InputError, match="nd=3-2: expected a range"):
        Box((1, 4), (3, 2))
    with pytest.raises(InputError, match="prompts of 0 tokens"):
        PhaseModel("rra", LENGTHS, 0, TABLE_7)
    assert model.at(4).label == "waa:be=4"
    assert PhaseModel("rra", LENGTHS, 9, TABLE_7, Law.PAPER).at(4, 2).label == "rra:be=4,nd=2,law=paper"
