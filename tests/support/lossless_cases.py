"""Rules by what they look at, and their exact bias on random tiny models: rows of docs/losslessness.md.

Bias: total variation between the law of the next K + 1 tokens (of both sequences) and the target's.
Models: p and q uniform over all laws (Dirichlet 1) after every prefix, c = 0.6 p + 0.4 of such a law.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from support.tiny_models import TinyModels, joint_bias
from support.tiny_plans import Plan, first_decline, lengths_that_vary, survival_of
from svsim.decoding.selection_rules import TOP_LEVEL, best_goodput

# column of the table -> (vocabulary, K) tried, number of sequences
COLUMNS = {
    "one draft token": (((2, 1), (3, 1), (4, 1), (8, 1)), 1),
    "two or three": (((2, 2), (2, 3), (3, 2)), 1),
    "two sequences": (((2, 2), (2, 3), (3, 2)), 2),
}
LEAST_SURVIVAL = 0.4


def keep_while(signal, least):
    """Verify up to the first token whose signal is below ``least``, without that token."""
    return lambda models: first_decline(models.signals[signal], least)


def draft_until(signal, least):
    """Draft up to the first token whose signal is below ``least``, and verify that token too."""
    return lambda models: np.minimum(first_decline(models.signals[signal], least) + 1, models.k)


def confident(models, factor, least):
    """Draft while 1 - sqrt(factor * entropy) >= least, testing after each token: SVIP, AdaEDL."""
    bound = 1.0 - np.sqrt(factor * models.signals["draft_entropy"])
    return np.minimum(first_decline(bound, least) + 1, models.k)


def surviving(name):
    """Verify while the survival that a method believes is at least LEAST_SURVIVAL, known beforehand."""

    def lengths(models):
        survival = survival_of(Plan(f"{name}:k={models.k}", [models]).method, models)
        return first_decline(survival, round(LEAST_SURVIVAL * TOP_LEVEL))

    return lengths


@dataclass(frozen=True)
class Case:
    """A rule: does it look at the token it decides about, and its lengths on one or two tiny models.

    lengths: (generator, models) -> [N] of every draft, or [N1, N2, 2] of every pair of drafts.
    """

    name: str
    looks: str
    lengths: Callable

    def biases(self, column, num_models):
        """Bias on ``num_models`` random models (or pairs) of every size, float64 [N]."""
        sizes, num_sequences = COLUMNS[column]
        return np.array([self.bias(size, num_sequences, n) for size in sizes for n in range(num_models)])

    def bias(self, size, num_sequences, number):
        """Total variation on the models of that number."""
        rng = np.random.default_rng([*size, num_sequences, number])
        models = [TinyModels.random(rng, *size) for _ in range(num_sequences)]
        lengths = self.lengths(rng, models)
        return models[0].bias(lengths) if num_sequences == 1 else joint_bias(*models, lengths)


def alone(name, looks, lengths):
    """A rule that decides about every sequence by itself."""

    def of_all(rng, models):
        each = [lengths(m) for m in models]
        return each[0] if len(each) == 1 else np.stack(np.meshgrid(*each, indexing="ij"), axis=-1)

    return Case(name, looks, of_all)


def batched(name, looks, method, rule=None):
    """A method's own rule, or ``rule`` with its belief, at random prices (stairs of 2 to 4 tokens)."""

    def of_all(rng, models):
        return lengths_that_vary(rng, f"{method}:k={models[0].k}", models, rule, (2, 3, 4))

    return Case(name, looks, of_all)


CASES = (
    alone("keep while A >= 0.6", "yes", keep_while("companion_accept", 0.6)),
    alone("keep while q(x) >= 0.2", "yes", keep_while("draft_prob", 0.2)),
    alone("keep while q(x) >= 0.4", "yes", keep_while("draft_prob", 0.4)),
    alone("draft until q(x) < 0.4, verify that token too", "no", draft_until("draft_prob", 0.4)),
    alone("SVIP: until sqrt(0.15 H) > 0.3, that token too", "no", lambda m: confident(m, 0.15, 0.7)),
    alone("AdaEDL: until 1 - sqrt(0.2 H) < 0.6, that token too", "no", lambda m: confident(m, 0.2, 0.6)),
    alone("keep while S >= 0.7", "no", keep_while("similarity", 0.7)),
    alone("keep while max q >= 0.6", "no", keep_while("max_draft_prob", 0.6)),
    alone(f"keep while SV's survival >= {LEAST_SURVIVAL}", "yes", surviving("sv")),
    alone(f"keep while the causal survival >= {LEAST_SURVIVAL}", "no", surviving("sv-lossless")),
    batched("sv: best prefix of the batch", "yes", "sv"),
    batched("best prefix of the batch, causal survival", "later ones", "sv-lossless", best_goodput),
    batched("sv-lossless: admission up to the first decline", "no", "sv-lossless"),
)
