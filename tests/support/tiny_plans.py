"""What decoding methods verify on tiny models: the real beliefs and the real compiled rules."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from svsim.decoding.beliefs import believed_survival
from svsim.decoding.method import PlanBySignals, SelectByRule, VerifyAll
from svsim.decoding.presets import parse_method
from svsim.decoding.selection_rules import (
    DRAFT_S,
    LAST_ACCEPTED,
    LAST_VERIFIED,
    MEMORY_SIZE,
    SCRATCH_SIZE,
    encode_survival,
)
from svsim.trace.accept_histogram import HISTOGRAM


@dataclass(frozen=True)
class Prices:
    """Seconds of a step: fixed, and of 0, 1, ... verified tokens (the target's pass alone is 1)."""

    fixed_s: float
    verify_s: np.ndarray

    @classmethod
    def rising(cls, slope, width, num_tokens):
        """``slope`` seconds a token, in stairs of ``width`` tokens."""
        return cls(0.3, 1.0 + slope * width * -(-np.arange(num_tokens + 1) // width))


@cache
def fitted(spec):
    """The method with a belief in which every signal it reads matters, learnt on made-up tokens."""
    method = parse_method(spec)
    if method.belief is None:
        return method
    tokens = made_up_tokens()
    signals = tuple(tokens[name] for name in method.belief.signals)
    return replace(method, belief=method.belief.fit(signals, tokens["accept_prob"]))


@cache
def made_up_tokens():
    """Signals by name and acceptance of 20,000 tokens: it rises with S and A, and falls with the entropy."""
    rng = np.random.default_rng(0)
    similarity, companion_accept = rng.random((2, 20_000), np.float32)
    accept = 0.02 + 0.3 * similarity + 0.65 * companion_accept
    return {
        "similarity": similarity,
        "companion_accept": companion_accept,
        "draft_entropy": 1.2 * (1.0 - accept),
        "draft_prob": accept,
        **dict.fromkeys(HISTOGRAM, np.zeros(20_000, np.float32)),
        "accept_prob": accept,
    }


def survival_of(method, models):
    """Encoded survival of every draft, uint16 [N, K]; zeros where the method has no belief."""
    if method.selection.knows_target:
        accept = [[models.accept_prob(tuple(x), d) for d in range(models.k)] for x in models.drafts]
        return encode_survival(np.cumprod(accept, axis=1))
    if method.belief is None:
        return np.zeros((len(models.drafts), models.k), np.uint16)
    return believed_survival(method.belief, tuple(models.signals[name] for name in method.belief.signals))


def run_rule(rule, candidates, prices, options=(0.0, 0.0), memory=None):
    """Lengths [n] that a compiled rule selects for candidates [n, K]; ``memory`` is moved on."""
    lengths = np.zeros(len(candidates), np.int64)
    memory = np.zeros(MEMORY_SIZE) if memory is None else memory
    scratch, options = np.zeros(SCRATCH_SIZE, np.int64), np.array(options)
    candidates = np.ascontiguousarray(candidates)
    rule(len(candidates), candidates, prices.verify_s, prices.fixed_s, options, memory, scratch, lengths)
    return lengths


def experience(method, models, prices, rng, num_steps=20):
    """The memory of a rule that has seen ``num_steps`` steps of random drafts, half of them accepted.

    A drafted token costs a fifth of the target's own pass, for rules that decide before the draft.
    """
    memory, k = np.zeros(MEMORY_SIZE), method.num_speculative_tokens
    memory[DRAFT_S : DRAFT_S + k + 1] = 0.2 * np.arange(k + 1)
    survival = [survival_of(method, m) for m in models]
    for _ in range(num_steps):
        drawn = [rng.choice(len(s), p=m.draft_law) for s, m in zip(survival, models, strict=True)]
        rows = np.stack([s[x] for s, x in zip(survival, drawn, strict=True)])
        lengths = run_rule(method.selection.rule, rows, prices, method.selection.options, memory)
        memory[LAST_VERIFIED], memory[LAST_ACCEPTED] = lengths.sum(), rng.binomial(lengths.sum(), 0.5)
    return memory


class Plan:
    """A method that plans steps of some tiny models at given prices, with the memory of earlier steps.

    ``rule`` replaces the method's own.
    """

    def __init__(self, spec, models, prices=None, rule=None):
        self.method, self.prices = fitted(spec), prices
        if rule is not None:
            self.method = replace(self.method, selection=SelectByRule(rule))
        self.memory = np.zeros(MEMORY_SIZE)
        if prices is not None and isinstance(self.method.selection, SelectByRule):
            self.memory = experience(self.method, models, prices, np.random.default_rng(0))

    @property
    def is_fixed(self):
        """Whether every drafted token is verified, always."""
        return isinstance(self.method.selection, VerifyAll)

    def step(self, rows, memory):
        """Lengths [n] for the survival of one draft per sequence [n, K], and what the next step remembers.

        The latter is a function of the number of accepted tokens.
        """
        selection, moved = self.method.selection, memory.copy()
        lengths = run_rule(selection.rule, rows, self.prices, selection.options, moved)

        def told(accepted):
            after = moved.copy()
            after[LAST_VERIFIED], after[LAST_ACCEPTED] = lengths.sum(), accepted
            return after

        return lengths, told

    def lengths(self, rows):
        """Lengths [n] for the survival of one draft per sequence [n, K]; the memory stays."""
        return self.step(rows, self.memory)[0]

    def of_one(self, models):
        """Lengths for every draft of one sequence, [N]."""
        selection = self.method.selection
        if self.is_fixed:
            return np.full(len(models.drafts), self.method.num_speculative_tokens)
        if isinstance(selection, PlanBySignals):
            return selection.plan(tuple(models.signals[name] for name in selection.signals)).astype(np.int64)
        return np.array([self.lengths(row[None])[0] for row in survival_of(self.method, models)])

    def of_two(self, first, second):
        """Lengths for every pair of drafts, [N1, N2, 2]."""
        shape = len(first.drafts), len(second.drafts), 2
        if not isinstance(self.method.selection, SelectByRule):
            return np.stack(np.meshgrid(self.of_one(first), self.of_one(second), indexing="ij"), axis=-1)
        mine, other = survival_of(self.method, first), survival_of(self.method, second)
        pairs = [self.lengths(np.stack([a, b])) for a in mine for b in other]
        return np.array(pairs).reshape(shape)


def lengths_that_vary(rng, spec, models, rule=None, widths=(1, 2, 3)):
    """Lengths of one or two sequences for every draft, at prices where something is left to choose.

    Prices are drawn until lengths differ between drafts (the last ones drawn, if they never do);
    ``widths``: of their stairs.
    """
    for slope in rng.permutation(np.geomspace(0.05, 1.5, 12)):
        prices = Prices.rising(slope, int(rng.choice(widths)), sum(m.k for m in models))
        plan = Plan(spec, models, prices, rule)
        lengths = plan.of_one(*models) if len(models) == 1 else plan.of_two(*models)
        if (lengths != lengths.reshape(-1, len(models))[0]).any():
            break
    return lengths


def first_decline(scores, least):
    """Verify until a token's score falls below ``least``; scores [N, K]."""
    return np.logical_and.accumulate(np.asarray(scores) >= least, axis=1).sum(axis=1)


def greedy_budget(rows, num_tokens):
    """Lengths [n] of the ``num_tokens`` largest of scores [n, K] that never increase along a row."""
    places = sorted(
        ((i, d) for i in range(len(rows)) for d in range(len(rows[i]))),
        key=lambda at: (-int(rows[at[0]][at[1]]), *at),
    )
    return np.bincount([i for i, _ in places[:num_tokens]], minlength=len(rows))
