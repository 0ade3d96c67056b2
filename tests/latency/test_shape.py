import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.shape import Role, StepShape


def test_arrays_broadcast_to_one_shape() -> None:
    sequences, tokens, kv = StepShape(Role.DRAFT, 2, [2, 4, 6], np.zeros((5, 1))).broadcast()
    assert sequences.shape == tokens.shape == kv.shape == (5, 3)
    assert tokens.dtype == np.float64


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((0, 1, 1), "num_sequences = 0; expected a finite number >= 1"),
        ((1, -1, 1), "num_new_tokens = -1"),
        ((1, 1, [5, np.nan]), "num_kv_tokens = nan"),
        ((1, np.inf, 1), "num_new_tokens = inf"),
        (([1, 2], [1, 2, 3], 0), "do not broadcast"),
    ],
)
def test_impossible_passes(counts: tuple[object, object, object], message: str) -> None:
    with pytest.raises(LatencyError, match=message):
        StepShape(Role.TARGET, *counts).checked(set(Role), "a model")  # type: ignore[arg-type]


def test_roles_that_are_not_priced() -> None:
    with pytest.raises(LatencyError, match="a model has no step times for the draft"):
        StepShape(Role.DRAFT, 1, 1, 1).checked({Role.TARGET}, "a model")
