"""A replay is called exact only where a server would have done the same, step by step."""

import pytest
from support.small_traces import StairLatency, independent_trace, with_draft_signals

from svsim.decoding.presets import parse_method
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.trace.parts import MemorySource


@pytest.fixture(scope="module")
def trace():
    return with_draft_signals(independent_trace(40, 4, chains="coherent"))


@pytest.mark.parametrize(
    ("text", "of_requests", "of_copies"),
    [
        ("td", "exact", "exact"),
        ("sd:k=3", "exact", "exact"),
        # a batch waits for its longest draft, and a rule ranks all drafts: copies on a server have their own
        ("svip:k=4", "exact", "approximate"),
        ("smartspec:k=4", "exact", "approximate"),
        ("dspark:k=4", "exact", "approximate"),
        ("oracle:k=4,draft=exact", "approximate", "approximate"),
        # its lengths look at the tokens they drop; a head's drafts depend on where the step began
        ("tetris:k=4", "approximate", "approximate"),
        ("eagle:k=4", "approximate", "approximate"),
    ],
)
def test_copies_share_their_drafts(monkeypatch, trace, text, of_requests, of_copies):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)

    def kind(batch_of):
        settings = RunSettings((parse_method(text),), (4,), batch_of=batch_of)
        prepared = prepare(MemorySource(trace), settings, [Deployment(StairLatency())])
        return ClosedLoopReplay(prepared).run()[0].replay_kind

    assert (kind("requests"), kind("copies")) == (of_requests, of_copies)
