"""Information estimators against exact sums over a known law, and their bias as documented."""

import re

import numpy as np
import pytest
from support.known_laws import DOCS, load_script

from svsim.metrics.information import JudgedTokens, correlation, paper_gains
from svsim.speculation_math import binary_entropy_bits

SCRIPT = load_script()
LAW = SCRIPT.DiscreteLaw.example()


def cells_of(law):
    return np.unique(np.stack([law.s, law.companion]), axis=1, return_inverse=True)[1].ravel()


def best_belief(law):
    """E[a | S, A] of every outcome."""
    cells = cells_of(law)
    return (np.bincount(cells, law.a) / np.bincount(cells))[cells]


def whole_law(law=LAW, a=None):
    """Every outcome once: sample means are the law's own expectations."""
    a = law.a if a is None else a
    return JudgedTokens(a, np.arange(len(a)) % 7, 7, seed=0)


def test_gain_and_ceiling_of_the_whole_law_are_exact():
    tokens = whole_law()
    value = tokens.judge("best", (), best_belief(LAW))
    assert value.gain_bits.value == pytest.approx(LAW.gain_bits, abs=1e-12)
    assert tokens.ceiling_bits().value == pytest.approx(LAW.ceiling_bits, abs=1e-12)
    assert value.share_of_ceiling.value == pytest.approx(LAW.gain_bits / LAW.ceiling_bits, abs=1e-12)
    assert tokens.mean_acceptance().value == pytest.approx(LAW.a.mean())
    assert tokens.entropy_bits().value == pytest.approx(float(binary_entropy_bits(LAW.a.mean())))
    assert value.calibration.error < 0.02  # bins of the belief mix no other belief here


def test_brier_skill_and_r2_by_enumerating_the_coin():
    p, a = best_belief(LAW), LAW.a
    brier = np.mean(a * (1 - p) ** 2 + (1 - a) * p**2)
    reference = np.mean(a * (1 - a.mean()) ** 2 + (1 - a) * a.mean() ** 2)
    value = whole_law().judge("best", (), p)
    assert value.brier_skill.value == pytest.approx(1 - brier / reference, abs=1e-12)
    assert value.r2.value == pytest.approx(1 - np.mean((a - p) ** 2) / a.var(), abs=1e-12)


def test_the_truth_reaches_the_ceiling_and_the_mean_tells_nothing():
    tokens = whole_law()
    truth = tokens.judge("truth", (), LAW.a)
    assert truth.share_of_ceiling.value == pytest.approx(1, abs=1e-12)
    assert truth.r2.value == pytest.approx(1)
    nothing = tokens.judge("mean", (), np.full(len(LAW.a), LAW.a.mean()))
    assert nothing.gain_bits.value == pytest.approx(0, abs=1e-12)
    assert nothing.r2.value == pytest.approx(0, abs=1e-12)
    assert nothing.brier_skill.value == pytest.approx(0, abs=1e-12)


def test_a_misleading_belief_has_negative_gain():
    value = whole_law().judge("upside down", (), 1 - best_belief(LAW))
    assert value.gain_bits.value < -0.1 and value.brier_skill.value < 0 and value.r2.value < 0


@pytest.mark.parametrize("certain", [0.0, 0.3, 1.0])
def test_constant_acceptance_leaves_nothing_to_know(certain):
    a = np.full(50, certain)
    value = whole_law(a=a).judge("constant", (), np.clip(a, 1e-6, 1 - 1e-6))
    assert value.share_of_ceiling.value is None and value.r2.value is None
    assert value.gain_bits.value == pytest.approx(0, abs=1e-5)


def test_intervals_cover_the_truth_where_requests_differ():
    """Tokens of one request share their S: 95 % of 200 intervals, less than four standard errors off."""
    belief, covered = best_belief(LAW), 0
    rows = np.split(np.arange(len(LAW.a)), 8)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([rng.choice(rows[rng.integers(8)], 30) for _ in range(120)])
        tokens = JudgedTokens(LAW.a[drawn], np.repeat(np.arange(120), 30), 120, seed=0)
        found = tokens.judge("best", (), belief[drawn]).gain_bits
        assert found.ci_low < found.value < found.ci_high
        covered += found.ci_low <= LAW.gain_bits <= found.ci_high
    assert 190 - 4 * np.sqrt(200 * 0.95 * 0.05) <= covered <= 199


def test_the_papers_table_is_exact_on_the_whole_law():
    found = {(g.num_x_bins, g.cells): g for g in paper_gains(LAW.a, LAW.s, LAW.companion, seed=0)}
    assert set(found) == {(x, c) for x in (5, 10) for c in ("5x5", "10x10", "20x20", "adaptive")}
    for x in (5, 10):
        for cells in (5, 10, 20):
            gain = found[x, f"{cells}x{cells}"]
            assert gain.raw_bits == pytest.approx(LAW.paper_gain_bits(x, cells), abs=1e-12)
            assert gain.corrected_bits == gain.raw_bits - gain.shuffled_bits
        # 272 adaptive cells hold each of the 32 pairs by itself
        assert found[x, "adaptive"].raw_bits == pytest.approx(LAW.paper_gain_bits(x, 20), abs=1e-12)


def test_shuffling_measures_what_independent_signals_seem_to_tell():
    """2 N ln 2 times the plug-in gain is about chi-squared; four shuffles add a quarter of its variance."""
    num_tokens = 4000
    rng = np.random.default_rng(3)
    for gain in paper_gains(*rng.random((3, num_tokens)), seed=0):
        scale = 1 / (2 * num_tokens * np.log(2))
        degrees = gain.shuffled_bits / scale
        assert abs(gain.corrected_bits) < 4 * np.sqrt(2 * degrees * 1.25) * scale
        assert gain.raw_bits > 5 * np.sqrt(2 * degrees) * scale


def test_correlation_equals_numpy_and_is_none_for_a_constant():
    rng = np.random.default_rng(0)
    x, request = rng.random(3000), np.arange(3000) // 30
    y = x + rng.random(3000)
    found = correlation(x, y, request, 100, seed=0)
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert found.ci_low < found.value < found.ci_high
    assert correlation(x, np.full(3000, 0.7), request, 100, seed=0).value is None


def documented_rows():
    text = (DOCS / "information.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \|" + r" ([+-]\S+) ± (\S+) \|" * 4, text, re.MULTILINE)
    return {int(size.replace(",", "")): np.array(values, float).reshape(4, 2) for size, *values in rows}


def test_the_documented_bias_is_what_the_script_finds():
    rows = documented_rows()
    assert list(rows) == list(SCRIPT.SIZES)
    for size in (300, 3000):
        samples = min(SCRIPT.MAX_SAMPLES, SCRIPT.TOKENS_PER_SIZE // size)
        found = np.stack(SCRIPT.mean_bias(LAW, size, samples), axis=1)
        np.testing.assert_allclose(rows[size], found, atol=0.6e-4)


def test_the_documented_bias_has_the_stated_sign_and_vanishes():
    rows = documented_rows()
    for column, sign in enumerate((-1, 1, 1, -1)):
        assert sign * rows[300][column, 0] > 4 * rows[300][column, 1]
        bias, error = rows[100_000][column]
        assert abs(bias) < 4 * error
