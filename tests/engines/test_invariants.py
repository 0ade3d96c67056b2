"""Each invariant that a run checks, broken on purpose."""

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace

import svsim.engines.replay as replay_module
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.closed_loop import ACCEPTED, DRAFTED, FIRST_CLOCK, NUM_TALLIES, VERIFIED
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InvariantError
from svsim.trace.parts import MemorySource

BROKEN = {
    "more accepted than verified": (ACCEPTED, lambda tallies: tallies[:, VERIFIED] + 1),
    "more verified than drafted": (VERIFIED, lambda tallies: tallies[:, DRAFTED] + 1),
    "no time passed": (slice(FIRST_CLOCK, NUM_TALLIES), lambda tallies: 0.0),
    "time runs backwards": (slice(FIRST_CLOCK, NUM_TALLIES), lambda tallies: -1.0),
    "no number": (FIRST_CLOCK, lambda tallies: np.nan),
    "endless": (FIRST_CLOCK, lambda tallies: np.inf),
}


def replay():
    settings = RunSettings((parse_method("sd:k=3"),), (4,))
    trace = independent_trace(20, 3)
    return ClosedLoopReplay(prepare(MemorySource(trace), settings, [Deployment(StairLatency())]))


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_invariant_ends_the_run(monkeypatch, broken):
    """One group that went wrong is enough."""
    column, wrong = BROKEN[broken]
    loop = replay_module.run_continuous

    def run_and_break(*given):
        done, tallies = loop(*given), given[-1]
        tallies[3:4, column] = wrong(tallies[3:4])
        return done

    run_and_break.loaded = loop.loaded
    monkeypatch.setattr(replay_module, "run_continuous", run_and_break)
    with pytest.raises(InvariantError, match="please report this") as caught:
        replay().run()
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)


def test_a_sound_run_passes():
    assert len(replay().run()) == 1
