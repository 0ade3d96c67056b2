"""Live decoding keeps known laws, the test of laws sees what it claims to, and a trained triplet runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.table_models import random_tables, sequence_law, triple

from svsim.errors import InputError
from svsim.trace_capture.settings import SamplingSettings
from svsim.training.triplet import TripletSettings, train_triplet
from svsim.validation.live_decoder import LiveDecoder, Plan
from svsim.validation.live_report import LiveSettings
from svsim.validation.live_run import live_run
from svsim.validation.two_samples import compare_laws, permutation_p_value, shifted

TABLES = random_tables(5, seed=3, closeness=0.7)
PROMPT = [1, 2, 3]
K, LENGTH, NUM = 3, 3, 6000


def texts(plan: Plan | None, k: int = K, num: int = NUM) -> np.ndarray:
    """First tokens of many continuations of one prompt."""
    decoder = LiveDecoder(triple(TABLES), SamplingSettings(), k, plan, torch.device("cpu"), seed=11)
    return decoder.generate([PROMPT] * num, LENGTH).tokens


def keep_all(signals, context):
    return np.full(len(context), K)


def by_similarity(signals, context):
    """Lossless: a token is verified or not before anyone looks at it."""
    return np.cumprod(signals["similarity"] > 0.7, axis=1).sum(1).astype(np.int64)


def by_looking(signals, context):
    """Lossy on purpose: a token is kept when it looks good, and drawn anew when not."""
    return np.cumprod(signals["companion_accept"] > 0.95, axis=1).sum(1).astype(np.int64)


def chi_squared(found: np.ndarray) -> tuple[float, int]:
    law = sequence_law(TABLES[0], PROMPT, LENGTH).ravel()
    cell = np.ravel_multi_index(tuple(found.T), (5,) * LENGTH)
    counts, expected = np.bincount(cell, minlength=law.size), law * len(found)
    return float(((counts - expected) ** 2 / expected).sum()), law.size - 1


@pytest.mark.parametrize(
    ("plan", "k"), [(None, 0), (None, K), (keep_all, K), (by_similarity, K)], ids=["td", "sd", "all", "S"]
)
def test_lossless_text_follows_the_targets_law(plan: Plan | None, k: int) -> None:
    """Chi-squared against the exact law of every continuation, seed 11: below mean + 4 deviations."""
    statistic, degrees = chi_squared(texts(plan, k))
    assert statistic < degrees + 4 * np.sqrt(2 * degrees)


def test_negative_control_looking_at_the_token_biases_the_text() -> None:
    statistic, degrees = chi_squared(texts(by_looking))
    assert statistic > degrees + 12 * np.sqrt(2 * degrees)
    rng = np.random.default_rng(0)
    assert permutation_p_value(texts(None, 0, 1500), texts(by_looking, K, 1500), rng, 199) <= 0.01


def test_the_two_sample_test_is_exact_and_has_its_power() -> None:
    """Under one law p <= 0.1 in a tenth of the experiments (120 of them: standard error 2.7 %)."""
    rng = np.random.default_rng(1)
    pool = texts(None, 0, 4000)
    rejected = 0
    for _ in range(120):
        mine = pool[rng.permutation(len(pool))[:200]]
        rejected += permutation_p_value(mine[:100], mine[100:], rng, 99) <= 0.1
    assert rejected / 120 == pytest.approx(0.1, abs=4 * 0.027)
    found = compare_laws(pool[:300], pool[300:600], rng, detectable=0.15, num_simulations=20)
    assert found.p_value > 0.001 and found.power >= 0.9
    blind = compare_laws(pool[:300], pool[300:600], rng, detectable=0.002, num_simulations=20)
    assert blind.power < 0.5
    # total variation between the laws at each position, before and after
    moved = shifted(pool, 0.25, rng)
    for before, after in zip(pool.T, moved.T, strict=True):
        laws = [np.bincount(tokens, minlength=5) / len(pool) for tokens in (before, after)]
        assert np.abs(laws[0] - laws[1]).sum() / 2 == pytest.approx(0.25, abs=0.02)


def test_steps_are_counted() -> None:
    decoder = LiveDecoder(triple(TABLES), SamplingSettings(), K, None, torch.device("cpu"), seed=1)
    found = decoder.generate([PROMPT, PROMPT[:2]] * 20, 30)
    assert found.tokens.shape == (40, 30)
    assert (found.num_verified == K * found.num_steps).all()
    emitted = found.num_steps + found.num_accepted
    assert (emitted >= 30).all() and (emitted <= 30 + K).all()


@pytest.fixture(scope="module")
def triplet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live_triplet")
    train_triplet(
        TripletSettings(
            folder, size="test", max_steps=30, num_prompts=24, num_prompt_tokens=(6, 20), device="cpu"
        )
    )
    return folder


def test_a_trained_triplet(triplet: Path, tmp_path: Path) -> None:
    """Real models: the replay of the captured trace foretells acceptance of fresh live runs."""
    settings = LiveSettings(
        triplet,
        tmp_path,
        methods=("td", "sd:k=3", "sv:k=3", "sv-lossless:k=3"),
        batch_size=4,
        num_output_tokens=24,
        num_speculative_tokens=3,
        num_repeats=2,
        num_law_texts=120,
        num_law_tokens=4,
        num_timed=2,
    )
    report = live_run(settings)
    rows = {row.method.partition(":")[0]: row for row in report.rows}
    assert set(rows) == {"td", "sd", "sv", "sv-lossless"}
    assert rows["td"].measured_acceptance_length == 1.0 and rows["td"].law is None
    assert rows["sd"].measured_verification_length == 3.0
    # the same models and prompts, other random numbers: the replay's own noise is about as large again
    sd = rows["sd"]
    assert sd.predicted_acceptance_length == pytest.approx(
        sd.measured_acceptance_length, abs=6 * sd.acceptance_length_standard_error
    )
    for name in ("sd", "sv-lossless"):
        assert rows[name].law is not None and rows[name].law.p_value > 1e-3
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert written["kind"] == "live run" and len(written["live_rows"]) == 4


def test_td_comes_first(triplet: Path, tmp_path: Path) -> None:
    settings = LiveSettings(triplet, tmp_path, methods=("sd:k=1",), num_output_tokens=2,
                            num_speculative_tokens=1, num_timed=1, max_requests=4)  # fmt: skip
    with pytest.raises(InputError, match="name td first"):
        live_run(settings)
