"""Settings are met within their stated tolerances, or refused with the limit that binds."""

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.speculation_math import binary_entropy_bits
from svsim.synthetic.settings import (
    TOLERANCES,
    SyntheticSettings,
    TaskSettings,
    decaying_acceptance,
)
from svsim.synthetic.trace import synthesize
from svsim.trace.measurement import measure


def random_settings(seed):
    """Feasible settings of four kinds: one mean, by depth, verified acceptance, two tasks."""
    rng = np.random.default_rng(seed)
    k, a = int(rng.integers(2, 9)), float(rng.uniform(0.5, 0.88))
    asked = {
        "burstiness": float(rng.uniform(0.02, 0.2)),
        "wrong_prefix_decay": float(rng.uniform(0.15, 0.45)),
        "request_spread": float(rng.uniform(0.03, 0.1)),
    }
    tasks = (TaskSettings(a),)
    if seed % 4 == 1:  # depths fix how acceptance clusters, so they leave no burstiness to ask for
        tasks = (TaskSettings(decaying_acceptance(a, float(rng.uniform(0.97, 1.01)), k)),)
        asked = {"request_spread": float(rng.uniform(0.03, 0.06))}
    elif seed % 4 == 2:
        tasks = (TaskSettings(verified_acceptance=float(rng.uniform(0.25, 0.6))),)
    elif seed % 4 == 3:
        other = TaskSettings(float(rng.uniform(0.5, 0.9)), name="other", share=0.5)
        tasks = (TaskSettings(a, name="first"), other)
    return SyntheticSettings(
        tasks,
        num_requests=340,
        num_speculative_tokens=k,
        information_gain_bits=float(rng.uniform(0.22, 0.3) * binary_entropy_bits(a)),
        overlap_correlation=float(rng.uniform(0.4, 0.7)),
        draft_entropy_nats=float(rng.uniform(0.3, 2.0)),
        drift=float(rng.uniform(-0.1, 0.1)),
        greedy=seed % 5 == 0,
        **asked,
    )


@pytest.mark.parametrize("seed", range(20))
def test_random_settings_are_met(seed):
    settings = random_settings(seed)
    trace = synthesize(settings, seed)
    seen = measure(trace)
    names = (
        *("information_gain_bits", "overlap_correlation", "request_spread", "drift"),
        *("burstiness", "wrong_prefix_decay"),
    )
    for name in names:
        asked = getattr(settings, name)
        if asked is not None:
            assert getattr(seen, name) == pytest.approx(asked, abs=TOLERANCES[name]), name
    relative = TOLERANCES["draft_entropy_nats"]
    assert seen.draft_entropy_nats == pytest.approx(settings.draft_entropy_nats, rel=relative)
    for task in settings.tasks:
        if task.depth_acceptance is not None:
            tolerance = TOLERANCES["acceptance_by_depth"]
            assert seen.acceptance_by_depth == pytest.approx(task.depth_acceptance, abs=tolerance)
        elif task.verified_acceptance is not None:
            got, tolerance = seen.verified_acceptance_by_task[task.name], TOLERANCES["verified_acceptance"]
            assert got == pytest.approx(task.verified_acceptance, abs=tolerance)
        else:
            got = seen.acceptance_by_task[task.name]
            assert got == pytest.approx(task.acceptance, abs=TOLERANCES["acceptance"])


def test_the_papers_information_measure_can_be_asked_for():
    settings = SyntheticSettings(
        num_requests=340, information_gain_bits=0.3, information_measure="paper", overlap_correlation=0.6
    )
    assert measure(synthesize(settings, 0)).paper_gain_bits == pytest.approx(0.3, abs=0.01)


def test_a_small_trace_is_calibrated_on_more_of_its_kind():
    """Thirty requests cannot show their law: the pilot draws more of them, and the law is the same."""
    small = synthesize(SyntheticSettings(num_requests=30), 4)
    large = synthesize(SyntheticSettings(num_requests=600), 4)
    level, expected = (t.metadata.extra["latent_parameters"]["level"][0] for t in (small, large))
    assert small.num_requests == 30
    assert level == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"information_gain_bits": 0.9}, r"exceeds the ceiling h\(mean a\) - E h\(a\) = 0\.6\d\d at this"),
        ({"information_gain_bits": 0.55}, r"exceeds 0\.[34]\d\d, the most that S and A can tell at overlap"),
        ({"information_gain_bits": 0.05}, r"is below 0\.1\d\d, which S alone tells at overlap_corr"),
        ({"request_spread": 0.4}, r"request_spread 0\.4 exceeds 0\.2\d\d, the deviation of the overlap"),
        ({"burstiness": 0.7}, r"burstiness 0\.7 exceeds 0\.[45]\d\d, the overlap's share of the variance"),
        ({"drift": 0.6}, r"drift 0\.6 takes the acceptance 0\.750 of task synthetic to 0\.450\.\.1\.050"),
        (
            {"overlap_correlation": 0.97, "wrong_prefix_decay": 0.9},
            r"overlap_correlation 0\.97 exceeds 0\.\d+, the most that a companion that sees all but",
        ),
        (
            {"tasks": (TaskSettings((0.8, 0.78, 0.76, 0.75, 0.74, 0.73, 0.72)),), "burstiness": 0.2},
            "these settings exclude each other; the closest trace has burstiness",
        ),
    ],
)
def test_the_impossible_is_refused_with_its_limit(changes, message):
    with pytest.raises(InputError, match=message):
        synthesize(SyntheticSettings(**{"num_requests": 340, **changes}), 0)
