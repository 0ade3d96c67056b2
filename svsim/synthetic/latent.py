"""The latent model of synthetic traces: parameters, laws given the latents, closed forms.

Its equations are in ``svsim.synthetic.trace``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, owens_t

Floats = NDArray[np.float64]

# Shape constants: neither asked for nor fitted; they settle what the observables leave open.
ATOM_SHARE = 0.7  # eta: P(a = 1 | O) = eta O, for a sampled target
WRONGNESS_MEMORY = 0.7  # lambda: an off-target token is felt for about three tokens
ENTROPY_LOADING = 0.6  # correlation of the draft's entropy score with difficulty
UNSEEN_SHARE = 0.8  # w, as a share of the variance that the overlap correlation leaves open to S
ACCEPT_WEIGHT = 0.75  # c: of e against n in what A may tell about acceptance
SURPRISE_LOADING = 0.5  # correlation of the token score with that of q(x)


@dataclass(frozen=True, slots=True)
class LatentParameters:
    """What the calibration solves for; symbols as in ``synthetic_trace``.

    level [num_tasks] (m), age_shift [num_tasks, K] (b), drift (delta), request_share (h),
    persistence (phi), unseen_share (w), wrongness_shift (omega), spread (s), atom_share (eta),
    companion_link (r), token_link (kappa), entropy_scale_nats (mean of H).
    """

    level: Floats
    age_shift: Floats
    drift: float
    request_share: float
    persistence: float
    unseen_share: float
    wrongness_shift: float
    spread: float
    atom_share: float
    companion_link: float = 0.0
    token_link: float = 0.0
    entropy_scale_nats: float = 1.0

    @property
    def reference_level(self) -> float:
        """The level that latent shifts are measured from."""
        return float(self.level.mean())

    @property
    def overlap_scale(self) -> float:
        """sqrt(1 + s^2): latent level = overlap_scale * probit of the mean overlap."""
        return float(np.sqrt(1.0 + self.spread**2))


def accept_quantile(score: Floats, overlap: Floats, atom_share: float) -> Floats:
    """min(1, p(x)/q(x)) at the quantile ``score`` in (0, 1): its mean over scores is ``overlap``.

    1 with probability eta O, else (u / (1 - eta O))^((1 - O) / ((1 - eta) O)).
    """
    below = 1.0 - atom_share * overlap
    if atom_share == 1.0:
        return (score >= below).astype(np.float64)
    exponent = (1.0 - overlap) / ((1.0 - atom_share) * np.maximum(overlap, 1e-9))
    inside: Floats = np.minimum(score / below, 1.0) ** exponent
    return np.where(score >= below, 1.0, inside)


@dataclass(frozen=True, slots=True)
class TokenLatents:
    """Latents of drafted tokens, float64 [N] each.

    difficulty (z + shift/s), companion_field (g), wrongness (W), and standard normal scores:
    accept_score (e), unseen_score (n), and the own parts of A, q(x) and the entropy.
    """

    difficulty: Floats
    companion_field: Floats
    wrongness: Floats
    accept_score: Floats
    unseen_score: Floats
    companion_score: Floats
    surprise_score: Floats
    entropy_score: Floats


def similarity(latents: TokenLatents, parameters: LatentParameters) -> Floats:
    """S = Phi(m + s (r' (z + shift/s) + sqrt(1 - r'^2) g)), r' = r (1 - W)."""
    link = parameters.companion_link * (1.0 - latents.wrongness)
    score = link * latents.difficulty + np.sqrt(1.0 - link**2) * latents.companion_field
    overlap: Floats = ndtr(parameters.reference_level + parameters.spread * score)
    return overlap


def companion_accept(latents: TokenLatents, similarity: Floats, parameters: LatentParameters) -> Floats:
    """A: the accept quantile of S, at a score tied by kappa (1 - W) to what S does not see."""
    link = parameters.token_link * (1.0 - latents.wrongness)
    told = ACCEPT_WEIGHT * latents.accept_score + np.sqrt(1.0 - ACCEPT_WEIGHT**2) * latents.unseen_score
    score = link * told + np.sqrt(1.0 - link**2) * latents.companion_score
    # a greedy target's a is 0 or 1, but A compares two sampled models in any case
    return accept_quantile(ndtr(score), similarity, ATOM_SHARE)


def draft_entropy(latents: TokenLatents, parameters: LatentParameters) -> Floats:
    """Exponential of the given mean (nats), harder positions having more."""
    own = np.sqrt(1.0 - ENTROPY_LOADING**2) * latents.entropy_score
    tail = ndtr(ENTROPY_LOADING * latents.difficulty - own)
    entropy: Floats = -parameters.entropy_scale_nats * np.log(np.maximum(tail, 1e-12))
    return entropy


def draft_prob(latents: TokenLatents, entropy: Floats) -> Floats:
    """q(x) = U^H, U uniform: the mean surprise -ln q(x) of x ~ q is the entropy H."""
    own = np.sqrt(1.0 - SURPRISE_LOADING**2) * latents.surprise_score
    prob: Floats = ndtr(SURPRISE_LOADING * latents.accept_score + own) ** entropy
    return prob


def overlap_covariance(mean_overlap: Floats, latent_correlation: float, spread: float) -> Floats:
    """Covariance of Phi(m + s z) and Phi(m + s z') with corr(z, z') as given, each of ``mean_overlap``.

    P(two normals of correlation rho below k) = Phi(k) - 2 T(k, sqrt((1 - rho)/(1 + rho))), T Owen's.
    """
    rho = spread**2 * latent_correlation / (1.0 + spread**2)
    both = mean_overlap - 2.0 * owens_t(ndtri(mean_overlap), np.sqrt((1.0 - rho) / (1.0 + rho)))
    covariance: Floats = both - mean_overlap**2
    return covariance


def latent_correlation(mean_overlap: Floats, weights: Floats, covariance: float, spread: float) -> float:
    """The correlation of latents that gives this mean overlap covariance over tasks; clipped to 0..0.999."""
    low, high = 0.0, 0.999
    if covariance <= 0.0:
        return 0.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        if float(np.average(overlap_covariance(mean_overlap, middle, spread), weights=weights)) < covariance:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def accept_prob_variance(mean_overlap: float, spread: float, atom_share: float) -> float:
    """Var(a) by Gauss-Hermite quadrature over the latent difficulty."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    level = ndtri(mean_overlap) * np.sqrt(1.0 + spread**2)
    overlap = ndtr(level + spread * nodes)
    atom = atom_share * overlap
    if atom_share == 1.0:
        square = overlap
    else:
        exponent = (1.0 - overlap) / ((1.0 - atom_share) * np.maximum(overlap, 1e-9))
        square = atom + (1.0 - atom) / (1.0 + 2.0 * exponent)
    return float((weights * square).sum() / weights.sum() - mean_overlap**2)
