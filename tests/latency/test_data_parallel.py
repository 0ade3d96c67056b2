"""Replicated models: a pass is that of the largest slice of the batch."""

import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.data_parallel import DataParallelLatency
from svsim.latency.geometry import model_geometry
from svsim.latency.linear import LinearLatency
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

LINE = {"fixed_s": 1.0, "per_new_token_s": 0.1, "per_kv_token_s": 0.001}
BASE = LinearLatency.from_json(
    {"kind": "linear", "target": LINE, "draft": LINE, "draft_is_one_pass": True, "overhead_per_step_s": 0.5},
    "line",
)
FOUR = DataParallelLatency(BASE, {Role.DRAFT: 4})


def draft_s(model, sequences, tokens, kv):
    return float(model.predict_s(StepShape(Role.DRAFT, sequences, tokens, kv)))


def test_the_largest_of_four_slices_by_hand() -> None:
    # 10 sequences: slices of 3, 3, 2, 2; 3 / 10 of 20 tokens and of 5000 KV tokens
    assert draft_s(FOUR, 10, 20, 5000) == pytest.approx(1 + 0.1 * 6 + 0.001 * 1500)
    assert draft_s(FOUR, 8, 16, 800) == pytest.approx(1 + 0.1 * 4 + 0.001 * 200)
    # a ragged pass: 3 / 10 of 21 tokens are 6.3, and a copy computes whole tokens
    assert draft_s(FOUR, 10, 21, 0) == pytest.approx(1 + 0.1 * 7)


def test_one_sequence_gains_nothing_and_others_are_left_alone() -> None:
    assert draft_s(FOUR, 1, 2, 700) == draft_s(BASE, 1, 2, 700)
    shape = StepShape(Role.TARGET, 10, 20, 5000)
    assert FOUR.predict_s(shape) == BASE.predict_s(shape)
    assert (FOUR.source, FOUR.hardware, FOUR.roles) == (BASE.source, BASE.hardware, BASE.roles)
    assert (FOUR.overhead_per_step_s, FOUR.draft_is_one_pass, FOUR.out_of_range) == (0.5, True, "extrapolate")
    with pytest.raises(LatencyError, match="no step times for the companion"):
        DataParallelLatency(BASE, {Role.COMPANION: 4}).predict_s(StepShape(Role.COMPANION, 1, 1, 1))


def test_whole_slices_have_no_rounding_surplus() -> None:
    """k tokens for each of B sequences are exactly k times the slice, for every B."""
    for copies in (2, 3, 7, 8):
        model = DataParallelLatency(BASE, {Role.DRAFT: copies})
        for k in (1, 2, 7):
            sequences = np.arange(1, 300)
            seconds = model.predict_s(StepShape(Role.DRAFT, sequences, k * sequences, 0))
            np.testing.assert_allclose(seconds, 1.0 + 0.1 * k * np.ceil(sequences / copies), rtol=1e-12)


def test_between_one_gpu_and_sharding() -> None:
    """A replica is never slower than one copy for the whole batch; both meet the same law at tp 1."""
    models = [model_geometry(name) for name in ("llama-3.1-70b", "llama-3.2-1b", "llama-3.2-3b")]
    one = RooflineLatency.of("h100_sxm", 4, *models)
    replicated = DataParallelLatency(one, {Role.DRAFT: 4, Role.COMPANION: 4})
    sharded = RooflineLatency.of("h100_sxm", 4, *models, sharded=(Role.COMPANION,))
    sequences = np.array([1, 8, 64, 200])
    for role, queries in ((Role.DRAFT, 1), (Role.COMPANION, 7)):
        shape = StepShape(role, sequences, queries * sequences, 1000 * sequences)
        assert (replicated.predict_s(shape) <= one.predict_s(shape)).all()
    single = StepShape(Role.COMPANION, 1, 7, 1000)
    assert sharded.predict_s(single) < replicated.predict_s(single)  # one sequence: only shards share it
