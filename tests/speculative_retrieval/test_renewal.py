"""Closed forms against a literal loop, the vectorised simulation, and each other."""

from dataclasses import replace

import numpy as np
import pytest
from support.literal_retrieval import literal_os3_s, literal_request_s

from svsim.errors import InputError
from svsim.speculative_retrieval.renewal import (
    SpeculativeRetrieval,
    best_stride,
    cycle_s,
    documents_per_cycle,
    renewal_s,
    request_s,
)
from svsim.speculative_retrieval.simulation import FixedStride, OptimalStride, simulate_s

SLOW = SpeculativeRetrieval(0.25, 4.0, 0.6, 32)
CASES = [
    SLOW,
    replace(SLOW, is_async=True),
    replace(SLOW, regenerates=True),
    replace(SLOW, verification_s=0.1, is_async=True, hit_rate=0.8),
    replace(SLOW, verification_per_query_s=0.3, is_async=True, regenerates=True, num_documents=7),
]


def literally(model: SpeculativeRetrieval, stride: int, num: int) -> np.ndarray:
    return np.array(
        [
            literal_request_s(
                model.speculation_s,
                model.verification_s,
                model.hit_rate,
                model.num_documents,
                stride,
                per_query=model.verification_per_query_s,
                regenerate=model.regenerates,
                overlap=model.is_async,
                seed=seed,
            )
            for seed in range(num)
        ]
    )


def assert_mean(seconds: np.ndarray, expected: float) -> None:
    """Within four standard errors; exact where nothing varies."""
    error = seconds.std(ddof=1) / np.sqrt(len(seconds))
    assert abs(seconds.mean() - expected) <= 4 * error + 1e-9 * expected


@pytest.mark.parametrize("model", CASES)
@pytest.mark.parametrize("stride", [1, 3, 8])
def test_a_request_takes_what_a_literal_loop_takes(model: SpeculativeRetrieval, stride: int) -> None:
    assert_mean(literally(model, stride, 1500), request_s(model, stride))


@pytest.mark.parametrize("model", CASES)
@pytest.mark.parametrize("stride", [1, 3, 8])
def test_the_simulation_has_the_closed_mean(model: SpeculativeRetrieval, stride: int) -> None:
    seconds = simulate_s(model, FixedStride(stride), 20_000, np.random.default_rng(stride))
    assert_mean(seconds, request_s(model, stride))


@pytest.mark.parametrize("model", CASES)
@pytest.mark.parametrize("stride", [2, 5])
def test_long_requests_approach_the_papers_ratio(model: SpeculativeRetrieval, stride: int) -> None:
    long = replace(model, num_documents=4000)
    assert request_s(long, stride) == pytest.approx(renewal_s(long, stride), rel=1e-3)
    # and a short one does not: its last stride is cut
    assert request_s(replace(model, num_documents=3), 5) != pytest.approx(
        renewal_s(replace(model, num_documents=3), 5), rel=1e-2
    )


def test_published_formulas() -> None:
    assert documents_per_cycle(0.6, 4) == pytest.approx((1 - 0.6**4) / 0.4)
    assert documents_per_cycle(1.0, 4) == 4
    assert cycle_s(SLOW, 4) == pytest.approx(4 * 0.25 + 4.0)
    hit = 0.6**4
    assert cycle_s(CASES[1], 4) == pytest.approx(hit * (3 * 0.25 + 4.0) + (1 - hit) * 5.0)
    assert renewal_s(SLOW, 4) == pytest.approx(32 / 2.176 * 5.0)
    assert cycle_s(CASES[2], 4) == pytest.approx(5.0 + (1 - hit) * 0.25)


def test_without_hits_or_without_misses() -> None:
    never, always = replace(SLOW, hit_rate=0.0), replace(SLOW, hit_rate=1.0)
    assert request_s(never, 3) == pytest.approx(30 * 4.75 + 4.5 + 4.25)  # the last strides are 2 and 1
    assert request_s(always, 8) == pytest.approx(4 * (8 * 0.25 + 4.0))
    for model in (never, always):
        seconds = simulate_s(model, FixedStride(3), 5, np.random.default_rng(0))
        assert seconds == pytest.approx(np.full(5, request_s(model, 3)))


def test_the_best_stride() -> None:
    assert best_stride(replace(SLOW, hit_rate=0.0), 8) == 1
    assert best_stride(replace(SLOW, hit_rate=1.0), 8) == 8
    assert best_stride(replace(SLOW, verification_s=0.0), 8) == 1
    asynchronous = replace(SLOW, verification_s=0.2, is_async=True, hit_rate=0.9)
    assert best_stride(asynchronous, 8) == 1  # verification shorter than a speculation hides whole
    assert best_stride(replace(asynchronous, is_async=False), 8) > 1


@pytest.mark.parametrize(("hit_rate", "overlap"), [(0.5, False), (0.9, False), (0.7, True)])
def test_os3_follows_a_literal_loop(hit_rate: float, overlap: bool) -> None:
    model = SpeculativeRetrieval(0.25, 4.0, hit_rate, 32, is_async=overlap)
    literal = np.array(
        [literal_os3_s(0.25, 4.0, hit_rate, 32, overlap=overlap, seed=seed) for seed in range(1500)]
    )
    ours = simulate_s(model, OptimalStride(model), 6000, np.random.default_rng(3))
    error = np.hypot(literal.std() / np.sqrt(len(literal)), ours.std() / np.sqrt(len(ours)))
    assert abs(literal.mean() - ours.mean()) < 4 * error


def test_os3_believes_no_more_than_its_cap() -> None:
    model = SpeculativeRetrieval(0.25, 4.0, 1.0, 32)
    rule = OptimalStride(model, max_hit_rate=0.6)
    matched = np.full((5, 2), 4)
    assert (rule.after(matched, np.zeros((5, 2), bool)) == best_stride(replace(model, hit_rate=0.6), 8)).all()
    assert rule.first() == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"speculation_s": 0.0}, "`a` 0 is out of range; expected seconds from 1e-06 to 86,400"),
        ({"verification_s": 1e308}, "`b` 1e.308 is out of range; expected seconds from 0 to 86,400"),
        ({"verification_s": -1.0}, "`b` -1 is out of range"),
        ({"hit_rate": 1.1}, "`gamma` 1.1 is no probability"),
        ({"hit_rate": float("nan")}, "no probability"),
        ({"num_documents": 0}, "`documents` 0 is out of range"),
    ],
)
def test_what_is_refused(words: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(SLOW, **words)
