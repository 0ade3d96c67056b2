"""Information measures against exact values on known joint laws."""

import numpy as np
import pytest

from svsim.speculation_math import (
    CellGrid,
    binary_entropy_bits,
    discretized_information_gain_bits,
    entropy_bits,
    equal_bins,
    information_ceiling_bits,
    information_gain_bits,
)


def h(p: float) -> float:
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def test_gain_of_the_best_belief_is_the_ceiling() -> None:
    a = np.array([0.0, 1.0, 0.25, 0.75, 0.5])
    exact = h(0.5) - (2 * h(0.25) + h(0.5)) / 5
    assert information_ceiling_bits(a) == pytest.approx(exact)
    assert information_gain_bits(a, a) == pytest.approx(exact)


def test_gain_of_a_constant_belief_is_minus_its_divergence() -> None:
    a = np.array([0.2, 0.6, 1.0])
    mean = a.mean()
    assert information_gain_bits(a, np.full(3, mean)) == pytest.approx(0.0, abs=1e-12)
    divergence = mean * np.log2(mean / 0.9) + (1 - mean) * np.log2((1 - mean) / 0.1)
    assert information_gain_bits(a, np.full(3, 0.9)) == pytest.approx(-divergence)


def test_gain_of_a_belief_that_rules_out_what_happens() -> None:
    assert information_gain_bits([0.5], [1.0]) == -np.inf
    assert information_gain_bits([1.0, 0.0], [1.0, 0.0]) == pytest.approx(1.0)


def test_gain_of_a_two_cell_signal_is_the_mutual_information() -> None:
    """Z given a binary signal of probability 0.3: I(Z; signal) by hand."""
    a = np.array([0.9] * 3 + [0.4] * 7)
    exact = h(0.3 * 0.9 + 0.7 * 0.4) - 0.3 * h(0.9) - 0.7 * h(0.4)
    assert information_gain_bits(a, a) == pytest.approx(exact)


def test_binary_entropy_ends() -> None:
    assert binary_entropy_bits([0.0, 0.5, 1.0]).tolist() == [0.0, 1.0, 0.0]


def test_entropy_of_counts() -> None:
    assert entropy_bits([4, 4, 0, 8]) == pytest.approx(1.5)


def test_equal_bins_close_the_last_one() -> None:
    assert equal_bins([0.0, 0.0999, 0.1, 0.95, 1.0], 10).tolist() == [0, 0, 1, 9, 9]


def joint_sample(probabilities: np.ndarray, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, s, a) at the centres of 5, 2 and 2 bins, drawn from a law [5, 2, 2]."""
    rng = np.random.default_rng(seed)
    cell = rng.choice(probabilities.size, size=num, p=probabilities.ravel())
    x, s, a = np.unravel_index(cell, probabilities.shape)
    return (x + 0.5) / 5, (s + 0.5) / 2, (a + 0.5) / 2


@pytest.mark.parametrize("cells", [2, 4, "adaptive"])
def test_discretized_gain_matches_the_exact_mutual_information(cells: int) -> None:
    """Finer grids change nothing where the law lives on four points."""
    law = np.random.default_rng(1).dirichlet(np.ones(20)).reshape(5, 2, 2)
    x, s, a = joint_sample(law, 200_000, 2)
    px, pc = law.sum((1, 2)), law.sum(0).ravel()
    flat = law.reshape(5, 4)
    exact = float((flat * np.log2(flat / (px[:, None] * pc[None]))).sum())
    gain = discretized_information_gain_bits(
        x, s, a, num_x_bins=5, num_signal_bins=cells, generator=np.random.default_rng(3)
    )
    assert gain.raw_bits == pytest.approx(exact, abs=0.01)
    assert gain.corrected_bits == pytest.approx(exact, abs=0.01)
    assert gain.entropy_bits == pytest.approx(float(-(px * np.log2(px)).sum()), abs=0.01)


def test_shuffling_removes_the_excess_of_many_cells() -> None:
    """Independent X and signals: the plug-in value is all excess, (x - 1)(c - 1)/(2 N ln 2) bits."""
    rng = np.random.default_rng(5)
    x, s, a = rng.random((3, 4000))
    gain = discretized_information_gain_bits(
        x, s, a, num_x_bins=10, num_signal_bins=10, generator=np.random.default_rng(6), num_shuffles=8
    )
    assert gain.raw_bits == pytest.approx(9 * 99 / (2 * 4000 * np.log(2)), rel=0.15)
    assert abs(gain.corrected_bits) < 0.03 < gain.raw_bits


def test_a_deterministic_signal_tells_all_of_x() -> None:
    x = np.random.default_rng(7).random(5000)
    gain = discretized_information_gain_bits(
        x, x, x, num_x_bins=5, num_signal_bins=20, generator=np.random.default_rng(8)
    )
    assert gain.raw_bits == pytest.approx(gain.entropy_bits)


def test_cells_of_equal_counts() -> None:
    s, a = np.random.default_rng(9).random((2, 17 * 16 * 40))
    grid = CellGrid.of_equal_counts(s, a, 16, 17)
    counts = np.bincount(grid.cell_of(s, a), minlength=grid.num_cells)
    assert grid.num_cells == 272
    assert counts.min() > 30 and counts.max() < 50


def test_ties_share_a_cell_and_new_points_find_theirs() -> None:
    s = np.repeat([0.2, 0.8], 500)
    a = np.tile(np.r_[np.full(300, 1.0), np.linspace(0, 0.9, 200)], 2)
    grid = CellGrid.of_equal_counts(s, a, 4, 4)
    cells = grid.cell_of(s, a)
    assert len(set(cells[(s == 0.2) & (a == 1.0)])) == 1
    assert len({int(c) // 4 for c in cells[s == 0.2]}) == 1
    low, high = grid.cell_of([0.0, 1.0], [0.5, 0.5]) // 4
    assert low == cells[0] // 4 and high == cells[-1] // 4
