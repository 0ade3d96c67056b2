"""What was asked beside what was made."""

from dataclasses import replace

import numpy as np
import pytest

from svsim.synthetic.outcome import Outcome, is_small, outcomes
from svsim.synthetic.settings import SyntheticSettings, TaskSettings
from svsim.synthetic.trace import synthesize
from svsim.trace.measurement import measure

SETTINGS = SyntheticSettings(
    (
        TaskSettings((0.8, 0.8, 0.81), name="code"),
        TaskSettings(verified_acceptance=0.5, name="chat"),
        TaskSettings(0.6, name="math"),
    ),
    num_requests=400,
    num_speculative_tokens=3,
    request_spread=0.04,
)


@pytest.fixture(scope="module")
def trace():
    return synthesize(SETTINGS, seed=1)


def test_every_setting_has_its_line_and_is_met(trace):
    found = {o.name: o for o in outcomes(SETTINGS, trace)}
    assert list(found)[:5] == [
        *(f"acceptance at depth {d}, code" for d in (1, 2, 3)),
        "verified_acceptance, chat",
        "acceptance, math",
    ]
    asked = [o for o in found.values() if o.asked is not None]
    assert len(asked) == 5 + 5 and not is_small(trace)
    assert all(o.is_met for o in asked), [o for o in asked if not o.is_met]
    assert found["burstiness"].is_met is None and found["burstiness"].measured is not None
    assert found["information_gain_bits"].measured == measure(trace).information_gain_bits
    assert found["paper_gain_bits"].asked is None


def test_a_trace_of_other_settings_does_not_meet_them(trace):
    """Negative control."""
    other = replace(SETTINGS, tasks=(*SETTINGS.tasks[:2], TaskSettings(0.62, name="math")))
    found = {o.name: o for o in outcomes(replace(other, draft_entropy_nats=0.9), trace)}
    assert found["acceptance, math"].is_met is False and found["draft_entropy_nats"].is_met is False


def test_one_task_needs_no_name_and_few_positions_are_small(trace):
    part = trace.select(np.flatnonzero(np.array(trace.tasks) == "math")[:20])
    found = outcomes(replace(SETTINGS, tasks=SETTINGS.tasks[2:]), part)
    assert found[0].name == "acceptance" and is_small(part)


def test_an_outcome_as_json():
    assert Outcome("drift", 0.1, 0.125, 0.02).to_dict() == {
        "name": "drift",
        "asked": 0.1,
        "measured": 0.125,
        "tolerance": 0.02,
        "is_met": False,
    }
    assert Outcome("drift", 0.1, None, 0.02).is_met is None
