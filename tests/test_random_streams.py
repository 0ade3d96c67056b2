"""Named streams: reproducible, independent, order-free."""

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.random_streams import RandomStreams


def test_same_name_and_keys_give_the_same_numbers_whatever_was_drawn_before():
    first = RandomStreams(7)
    first.generator("arrivals").random(1000)
    np.testing.assert_array_equal(
        first.generator("acceptance", 3).random(5), RandomStreams(7).generator("acceptance", 3).random(5)
    )


def test_other_names_keys_and_seeds_give_other_numbers():
    draws = {
        tuple(RandomStreams(seed).generator(name, *keys).random(4))
        for seed in (0, 1)
        for name in ("acceptance", "arrivals")
        for keys in ((), (0,), (1,), (0, 1))
    }
    assert len(draws) == 16


def test_streams_are_uncorrelated():
    a, b = (RandomStreams(0).generator("x", key).random(100_000) for key in (1, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(100_000)


def test_negative_seed_is_refused():
    with pytest.raises(InputError, match="non-negative"):
        RandomStreams(-1)
