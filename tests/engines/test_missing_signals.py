"""A method whose signals the trace lacks: which column, and what brings it."""

import pytest
from support.small_traces import StairLatency, independent_trace

from svsim import api
from svsim.errors import MissingSignalError

BARE = independent_trace(20, 4, signals=False)
SCORED = independent_trace(20, 4)  # similarity and companion_accept


@pytest.mark.parametrize(
    ("trace", "method", "column", "remedy"),
    [
        (BARE, "sv:k=4", "columns similarity, companion_accept", "svsim capture, which runs a companion"),
        (SCORED, "tetris:k=4", "column draft_prob", "svsim capture, which runs a companion"),
        (SCORED, "dspark:signal=draft_confidence", "column draft_confidence", "signal=draft_entropy"),
        (SCORED, "sv-lossless:k=4,unseen=histogram", "companion_accept_bin_7", "unseen=similarity"),
    ],
)
def test_the_message_names_column_and_remedy(trace, method, column, remedy):
    with pytest.raises(MissingSignalError) as error:
        api.replay(trace, latency=StairLatency(), methods=[method], batch_sizes=[2])
    message = str(error.value)
    assert column in message and remedy in message and "or leave" in message and "\n" not in message
    if trace is BARE:
        assert "it has: none" in message
