"""Signals, warpers and biases against slow float64 references that share no code with them."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from svsim.trace.accept_histogram import HISTOGRAM
from svsim.trace_capture.rule_bias import RULES, rule_biases, total_variation
from svsim.trace_capture.sampling import draw, probabilities, verify
from svsim.trace_capture.settings import SamplingSettings
from svsim.trace_capture.signals import histogram, observable_signals, target_truths

Floats = NDArray[np.float64]
VOCABULARY = 50


def random_laws(num: int, seed: int) -> list[Floats]:
    """p, q, c: random laws [num, V] around a common one, some with zeros as warpers leave them."""
    rng = np.random.default_rng(seed)
    common = 2 * rng.normal(size=(num, VOCABULARY))
    laws = []
    for _ in range(3):
        weights = np.exp(common + rng.normal(size=common.shape))
        weights[rng.random(weights.shape) < 0.2] = 0
        laws.append(weights / weights.sum(-1, keepdims=True))
    return laws


def tensor(values: Floats) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def test_signals_against_float64() -> None:
    p, q, c = random_laws(40, seed=0)
    rng = np.random.default_rng(1)
    tokens = np.array([rng.choice(VOCABULARY, p=row) for row in q])
    found = observable_signals(tensor(q), tensor(c), torch.as_tensor(tokens))
    found |= target_truths(tensor(p), tensor(q), torch.as_tensor(tokens))
    for i, x in enumerate(tokens):
        accept = [min(1.0, c[i, v] / q[i, v]) if q[i, v] > 0 else 0.0 for v in range(VOCABULARY)]
        expected = {
            "draft_prob": q[i, x],
            "draft_entropy": -sum(w * math.log(w) for w in q[i] if w > 0),
            "draft_rank": sum(q[i, v] > q[i, x] for v in range(VOCABULARY)),
            "similarity": sum(min(q[i, v], c[i, v]) for v in range(VOCABULARY)),
            "companion_accept": min(1.0, c[i, x] / q[i, x]),
            "target_overlap": sum(min(q[i, v], p[i, v]) for v in range(VOCABULARY)),
            "target_entropy": -sum(w * math.log(w) for w in p[i] if w > 0),
            "target_rank": sum(p[i, v] > p[i, x] for v in range(VOCABULARY)),
        }
        for b, name in enumerate(HISTOGRAM):
            mass = sum(q[i, v] for v in range(VOCABULARY) if min(int(accept[v] * 8), 7) == b)
            assert abs(float(found[name][i]) - mass) <= 1 / 512 + 1e-6, name
        for name, value in expected.items():
            assert float(found[name][i]) == pytest.approx(value, abs=3e-6), name


def test_histogram_is_the_law_of_a_under_q() -> None:
    _, q, c = random_laws(40, seed=3)
    found = observable_signals(tensor(q), tensor(c), torch.zeros(40, dtype=torch.long))
    bins = torch.stack([found[name] for name in HISTOGRAM], -1)
    torch.testing.assert_close(bins.sum(-1), torch.ones(40), rtol=0, atol=8 / 512)
    # E A under q is S: the histogram brackets it
    edges = torch.arange(9) / 8
    assert ((bins * edges[:-1]).sum(-1) <= found["similarity"] + 8 / 512).all()
    assert ((bins * edges[1:]).sum(-1) >= found["similarity"] - 8 / 512).all()


def test_both_histograms_agree() -> None:
    weights = torch.rand(5, 3, 200)
    bins = torch.randint(0, 8, weights.shape, dtype=torch.int8)
    by_bin = torch.stack([(weights * (bins == b)).sum(-1) for b in range(8)], -1)
    torch.testing.assert_close(histogram(weights, bins), by_bin)


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=0.7),
        SamplingSettings(top_k=5),
        SamplingSettings(top_p=0.8),
        SamplingSettings(temperature=1.3, top_k=12, top_p=0.6),
        SamplingSettings(top_p=1e-6),
    ],
)
def test_warpers_against_transformers(settings: SamplingSettings) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = 3 * torch.randn(30, VOCABULARY, generator=torch.Generator().manual_seed(0))
    expected = TemperatureLogitsWarper(settings.temperature)(None, logits)
    if settings.top_k:
        expected = TopKLogitsWarper(settings.top_k)(None, expected)
    if settings.top_p < 1:
        expected = TopPLogitsWarper(settings.top_p)(None, expected)
    torch.testing.assert_close(probabilities(logits, settings), torch.softmax(expected, -1))


def test_inversion_never_draws_an_impossible_token() -> None:
    weights = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    for uniform, expected in ((0.0, 1), (0.2499, 1), (0.25, 3), (0.999999999, 3)):
        assert draw(weights, torch.tensor([uniform], dtype=torch.float64)).item() == expected


def test_one_step_of_the_acceptance_rule_is_exact() -> None:
    # P(emit v) summed exactly over drafted tokens: q(x) a(x) + rejected mass * residual(v)
    p, q, _ = random_laws(20, seed=4)
    for i in range(20):
        law = np.zeros(VOCABULARY)
        everything = torch.arange(VOCABULARY)
        rows = [tensor(np.tile(x[i], (VOCABULARY, 1))) for x in (p, q)]
        zeros = torch.zeros(VOCABULARY)
        verdict = verify(rows[0], rows[1], everything, SamplingSettings(), coins=zeros, spares=zeros)
        accept = verdict.accept_prob.double().numpy()
        law += q[i] * accept
        residual = np.maximum(p[i] - q[i], 0)
        law += (q[i] * (1 - accept)).sum() * residual / residual.sum()
        np.testing.assert_allclose(law, p[i], atol=1e-6)
        assert ((verdict.recovered.numpy() != everything.numpy()) | (accept == 1)).all()


def emitted_law(p: Floats, q: Floats, keep: Floats) -> Floats:
    """The emitted token's law when only kept drafts are verified, by following every case."""
    law = np.zeros(len(p))
    residual = np.maximum(p - q, 0)
    for x in range(len(p)):
        if not keep[x]:
            law += q[x] * p
            continue
        accept = min(1.0, p[x] / q[x]) if q[x] > 0 else 1.0
        law[x] += q[x] * accept
        law += q[x] * (1 - accept) * residual / residual.sum()
    return law


def test_bias_against_following_every_case() -> None:
    p, q, c = random_laws(25, seed=5)
    found = rule_biases(tensor(p), tensor(q), tensor(c)).numpy()
    assert found[:, list(RULES).index("companion_accept>=0.6")].mean() > 0.02
    for i in range(25):
        accept = np.minimum(1, c[i] / np.where(q[i] > 0, q[i], 1))
        similarity = np.full(VOCABULARY, np.minimum(q[i], c[i]).sum())
        values = {"companion_accept": accept, "draft_prob": q[i], "similarity": similarity}
        for r, (signal, threshold) in enumerate(RULES.values()):
            keep = values[signal] >= threshold
            expected = 0.5 * np.abs(emitted_law(p[i], q[i], keep) - p[i]).sum()
            assert found[i, r] == pytest.approx(expected, abs=2e-6)


def test_rules_that_do_not_look_have_no_bias() -> None:
    p, q, _ = (tensor(law) for law in random_laws(10, seed=6))
    for keep in (torch.zeros_like(q), torch.ones_like(q)):
        assert total_variation(p, q, keep).max() < 1e-6
