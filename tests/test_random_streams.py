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


@pytest.mark.parametrize("columns", [1, 3, 4])
def test_coins_belong_to_their_rows(columns):
    """Read whole, or from any row on; and whole they are the generator's own numbers."""
    streams = RandomStreams(3)
    whole = streams.coins("acceptance", 1, shape=(1000, columns))
    drawn = streams.generator("acceptance", 1).random((1000, columns), dtype=np.float32)
    np.testing.assert_array_equal(whole, drawn)
    for row in (1, 2, 3, 500, 999):
        from_row = streams.coins("acceptance", 1, shape=(1000 - row, columns), first_row=row)
        np.testing.assert_array_equal(from_row, whole[row:])
    assert (streams.coins("acceptance", 1, shape=(1000, columns), first_row=2**40) != whole).any()


def test_streams_are_uncorrelated():
    a, b = (RandomStreams(0).generator("x", key).random(100_000) for key in (1, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(100_000)


def test_negative_seed_is_refused():
    with pytest.raises(InputError, match="non-negative"):
        RandomStreams(-1)
