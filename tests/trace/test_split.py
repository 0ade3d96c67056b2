"""Profile and evaluation parts: disjoint, stratified, seeded, independent of the file's order."""

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.trace.split import profile_mask, profile_mask_by_threshold

IDS = tuple(f"r{i}" for i in range(1000))
TASKS = tuple("code" if i % 4 == 0 else "chat" for i in range(1000))


def test_share_of_every_task():
    mask = profile_mask(IDS, TASKS, 0.3, seed=1)
    tasks = np.array(TASKS)
    assert mask[tasks == "code"].sum() == 75
    assert mask[tasks == "chat"].sum() == 225


def test_seed_decides_and_file_order_does_not():
    mask = profile_mask(IDS, None, 0.5, seed=1)
    np.testing.assert_array_equal(mask, profile_mask(IDS, None, 0.5, seed=1))
    assert (mask != profile_mask(IDS, None, 0.5, seed=2)).any()
    order = np.random.default_rng(0).permutation(1000)
    shuffled = profile_mask(tuple(IDS[i] for i in order), None, 0.5, seed=1)
    np.testing.assert_array_equal(shuffled, mask[order])


def test_threshold_split_meets_the_share_within_four_standard_errors():
    ids = tuple(map(str, range(20_000)))
    share = profile_mask_by_threshold(ids, 0.25, seed=3).mean()
    assert share == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 20_000))
    assert not profile_mask_by_threshold(ids, 0.0, seed=3).any()


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_bad_share(share):
    with pytest.raises(InputError, match="out of range"):
        profile_mask(IDS, None, share, 0)
