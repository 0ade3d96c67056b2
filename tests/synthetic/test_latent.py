"""The laws of the latent model, against integration and independent closed forms."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from svsim.synthetic.latent import (
    LatentParameters,
    TokenLatents,
    accept_prob_variance,
    accept_quantile,
    companion_accept,
    draft_entropy,
    draft_prob,
    latent_correlation,
    overlap_covariance,
    similarity,
)


def parameters(**changes):
    values = {
        "level": np.array([0.8]),
        "age_shift": np.zeros((1, 4)),
        "drift": 0.0,
        "request_share": 0.1,
        "persistence": 0.3,
        "unseen_share": 0.3,
        "wrongness_shift": 1.0,
        "spread": 1.3,
        "atom_share": 0.7,
        "companion_link": 0.8,
        "token_link": 0.9,
        "entropy_scale_nats": 0.9,
    }
    return LatentParameters(**{**values, **changes})


def latents(num, seed=0, wrongness=0.0):
    scores = np.random.default_rng(seed).standard_normal((7, num))
    return TokenLatents(scores[0], scores[1], np.full(num, wrongness), *scores[2:])


@pytest.mark.parametrize("overlap", [0.001, 0.2, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("atom_share", [0.2, 0.7, 1.0])
def test_the_mean_of_a_is_the_overlap(overlap, atom_share):
    def quantile(u):
        return float(accept_quantile(np.array([u]), np.array([overlap]), atom_share)[0])

    edge = 1 - atom_share * overlap
    mean = quad(quantile, 0, edge, epsabs=1e-10)[0] + atom_share * overlap
    assert mean == pytest.approx(overlap, abs=1e-6)
    assert quantile(edge + 1e-9) == 1.0
    values = [quantile(u) for u in np.linspace(0.001, 0.999, 50)]
    assert np.all(np.diff(values) >= 0) and min(values) >= 0 and max(values) <= 1


@pytest.mark.parametrize("wrongness", [0.0, 0.6])
def test_the_mean_of_companion_accept_is_the_similarity(wrongness):
    """E[A | S] = S, in twenty bands of S, whatever A tells about a."""
    tokens = latents(400_000, wrongness=wrongness)
    s = similarity(tokens, parameters())
    a = companion_accept(tokens, s, parameters())
    band = np.minimum((s * 20).astype(int), 19)
    for b in np.unique(band):
        excess = (a - s)[band == b]
        assert abs(excess.mean()) < 4.5 * excess.std() / np.sqrt(len(excess)) + 1e-4


def test_companion_accept_tells_about_a_beyond_similarity():
    tokens = latents(50_000)
    s = similarity(tokens, parameters())
    overlap = np.full(len(s), 0.7)
    a = accept_quantile(ndtr(tokens.accept_score), overlap, 0.7)
    linked = companion_accept(tokens, s, parameters())
    free = companion_accept(tokens, s, parameters(token_link=0.0))
    assert np.corrcoef(linked - s, a)[0, 1] > 0.4
    assert abs(np.corrcoef(free - s, a)[0, 1]) < 4 / np.sqrt(len(s))


def test_similarity_has_the_law_of_a_probit_normal():
    """Mean Phi(m / sqrt(1 + s^2)) whatever the link."""
    expected = ndtr(0.8 / np.sqrt(1 + 1.3**2))
    for link in (0.0, 0.5, 0.99):
        s = similarity(latents(200_000), parameters(companion_link=link))
        assert abs(s.mean() - expected) < 4 * s.std() / np.sqrt(len(s))


def test_entropy_and_surprise():
    """H is exponential of the mean asked for, and -ln q(x) of x ~ q has mean H."""
    tokens = latents(200_000)
    entropy = draft_entropy(tokens, parameters())
    assert entropy.mean() == pytest.approx(0.9, rel=4 / np.sqrt(len(entropy)))
    assert entropy.std() == pytest.approx(0.9, rel=0.02)
    surprise = -np.log(draft_prob(tokens, entropy))
    for low, high in ((0, 0.3), (0.3, 1.0), (1.0, 9.0)):
        band = (entropy >= low) & (entropy < high)
        excess = (surprise - entropy)[band]
        assert abs(excess.mean()) < 4.5 * excess.std() / np.sqrt(band.sum())
    assert np.corrcoef(entropy, tokens.difficulty)[0, 1] < -0.3


@pytest.mark.parametrize("mean", [0.3, 0.75, 0.95])
@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.999])
def test_overlap_covariance(mean, correlation):
    """Owen's T form against the two-dimensional integral over the latents."""
    spread, nodes = 1.4, np.polynomial.hermite_e.hermegauss(80)
    level = ndtri(mean) * np.sqrt(1 + spread**2)
    x, w = nodes[0], nodes[1] / nodes[1].sum()
    other = correlation * x[:, None] + np.sqrt(1 - correlation**2) * x[None]
    both = (w[:, None] * w[None] * ndtr(level + spread * x)[:, None] * ndtr(level + spread * other)).sum()
    got = overlap_covariance(np.array([mean]), correlation, spread)[0]
    assert got == pytest.approx(both - mean**2, abs=2e-5)


def test_latent_correlation_inverts_the_covariance():
    means, weights = np.array([0.6, 0.9]), np.array([2.0, 1.0])
    for correlation in (0.05, 0.5, 0.9):
        covariance = np.average(overlap_covariance(means, correlation, 1.5), weights=weights)
        assert latent_correlation(means, weights, covariance, 1.5) == pytest.approx(correlation, abs=1e-9)
    assert latent_correlation(means, weights, -0.1, 1.5) == 0.0


@pytest.mark.parametrize("atom_share", [0.7, 1.0])
def test_variance_of_a(atom_share):
    rng = np.random.default_rng(3)
    z, u = rng.standard_normal(400_000), rng.random(400_000)
    level = ndtri(0.8) * np.sqrt(1 + 1.5**2)
    a = accept_quantile(u, ndtr(level + 1.5 * z), atom_share)
    assert a.var() == pytest.approx(accept_prob_variance(0.8, 1.5, atom_share), rel=0.01)
