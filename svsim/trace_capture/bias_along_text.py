"""The bias of keep rules along text that the target itself writes, position by position.

Words
-----
step       a server's step: drafts one token after the other while its rule keeps them and the target
           accepts them, K at most; then one token of the target's.
survival   what the rule believes of the tokens of the step so far, multiplied; 1 where a step starts.
bias       total variation between p and the law of the next token, given the text and the step so far.

The text y is drawn from the target. Beside it every rule has its own steps: given that y_t was emitted,
it was a draft (and the step goes on) with probability k(y_t) min(p, q)(y_t) / P(y_t). The sum of the
biases bounds the total variation between the laws of whole texts (docs/losslessness.md).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from svsim.errors import require
from svsim.random_streams import RandomStreams
from svsim.trace_capture.coherent_chains import Triple
from svsim.trace_capture.rule_bias import drafted_share, signals_of, total_variation
from svsim.trace_capture.sampling import at, draw, probabilities, ratio_capped
from svsim.trace_capture.settings import SamplingSettings

# (similarity [..., 1], companion_accept [..., V]) -> believed acceptance [..., V]
Believe = Callable[[Tensor, Tensor], Tensor]
# (q, c) [..., V] each -> a value for every token [..., V], or one for all of them [..., 1]
OfLaws = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Keep a drafted token v iff survival x score(v) >= threshold.

    passed: what survival is multiplied by once v is accepted; None: survival stays 1.
    """

    score: OfLaws
    threshold: float
    passed: OfLaws | None = None


def threshold_rule(signal: str, threshold: float) -> KeepRule:
    """Keep while a signal of ``rule_bias.signals_of`` is at least ``threshold``."""
    return KeepRule(lambda q, c: signals_of(q, c)[signal], threshold)


def survival_rule(believe: Believe, threshold: float) -> KeepRule:
    """Speculative Verification's at one threshold: survival with the token's own A in it."""
    score = _belief_of_tokens(believe)
    return KeepRule(score, threshold, score)


def causal_rule(believe: Believe, threshold: float) -> KeepRule:
    """The same without looking at the token: its belief is averaged over the draft's law."""
    score = _belief_of_tokens(believe)
    return KeepRule(lambda q, c: (q * score(q, c)).sum(-1, keepdim=True), threshold, score)


def _belief_of_tokens(believe: Believe) -> OfLaws:
    def score(q: Tensor, c: Tensor) -> Tensor:
        values = signals_of(q, c)
        return believe(values["similarity"], values["companion_accept"])

    return score


@dataclass(frozen=True, slots=True)
class MeanBias:
    """mean_total_variation per output position; its standard error from the spread between requests.

    kept_share: probability that a drafted token is kept. tokens_per_step: output positions per step.
    """

    mean_total_variation: float
    standard_error: float
    kept_share: float
    tokens_per_step: float
    num_positions: int


@dataclass(frozen=True, slots=True)
class Texts:
    """What is written: prompts (token ids), how many tokens behind each, and how they are drawn.

    ``first`` numbers the requests, so that parts of one set of prompts get different random numbers.
    """

    prompts: Sequence[Sequence[int]]
    sampling: SamplingSettings
    num_positions: int
    seed: int = 0
    first: int = 0

    def __post_init__(self) -> None:
        require(not self.sampling.draft_is_deterministic, "a deterministic draft leaves no bias to measure")
        require(len(self.prompts) >= 2, "fewer than two prompts; a standard error needs at least two")

    def uniforms(self, use: str) -> Tensor:
        """Numbers in [0, 1), float64 [B, T], one generator per request."""
        streams, numbers = RandomStreams(self.seed), range(self.first, self.first + len(self.prompts))
        generators = (streams.generator(f"bias of rules, {use}", i) for i in numbers)
        return torch.as_tensor(np.stack([each.random(self.num_positions) for each in generators]))


def laws_along_text(models: Triple, texts: Texts) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(p, q, c, next token) at every position: laws [B, V] after the text so far, tokens [B] drawn from p."""
    prompts, chance = texts.prompts, texts.uniforms("text")
    in_order = models.target, models.draft, models.with_companion()
    for model in in_order:
        model.start(prompts, max(map(len, prompts)) + texts.num_positions)
    last, place = torch.tensor([p[-1] for p in prompts]), torch.tensor([len(p) - 1 for p in prompts])
    rows = torch.arange(len(prompts))
    for t in range(texts.num_positions):
        logits = (model.logits(rows, last[:, None], place)[:, 0] for model in in_order)
        p, q, c = (probabilities(each, texts.sampling).cpu() for each in logits)
        last, place = draw(p, chance[:, t]), place + 1
        yield p, q, c, last


def drafted_signals(models: Triple, texts: Texts) -> tuple[NDArray[np.float32], ...]:
    """(S, A, a) of one drafted token at every position, float32 [N] each: what a belief is learnt from."""
    chance = texts.uniforms("drafts")
    found = []
    for t, (p, q, c, _) in enumerate(laws_along_text(models, texts)):
        x, values = draw(q, chance[:, t]), signals_of(q, c)
        accept = ratio_capped(at(p, x), at(q, x))
        found.append(
            torch.stack([values["similarity"][:, 0], at(values["companion_accept"], x), accept]).numpy()
        )
    return tuple(np.concatenate(found, axis=1))


class _Steps:
    """The steps of B requests under one rule, and the sums of what they show."""

    def __init__(self, rule: KeepRule, num_requests: int, num_speculative_tokens: int) -> None:
        self.rule, self.limit = rule, num_speculative_tokens
        self.depth = torch.zeros(num_requests, dtype=torch.long)
        self.survival = torch.ones(num_requests)
        self.bias = torch.zeros(num_requests, dtype=torch.float64)
        self.drafted = self.kept = self.steps = 0.0

    def move(self, p: Tensor, q: Tensor, c: Tensor, tokens: Tensor, coins: Tensor) -> None:
        """Take the laws of a position, the token emitted there [B], and a coin per request."""
        is_drafted = self.depth < self.limit
        scores = self.survival[:, None] * self.rule.score(q, c)
        keep = ((scores >= self.rule.threshold) & is_drafted[:, None]).float().expand_as(q)
        self.bias += total_variation(p, q, keep).double()
        self.drafted += float(is_drafted.sum())
        self.kept += float((keep * q).sum())
        self.steps += float((self.depth == 0).sum())
        goes_on = coins < drafted_share(p, q, keep, tokens)
        if self.rule.passed is not None:
            passed = self.survival * at(self.rule.passed(q, c).expand_as(q), tokens)
            self.survival = torch.where(goes_on, passed, 1.0)
        self.depth = torch.where(goes_on, self.depth + 1, 0)

    def mean(self, num_positions: int) -> MeanBias:
        of_request = self.bias.numpy() / num_positions
        num = len(of_request)
        return MeanBias(
            float(of_request.mean()),
            float(of_request.std(ddof=1) / np.sqrt(num)),
            self.kept / self.drafted,
            num * num_positions / self.steps,
            num * num_positions,
        )


def measure_bias(
    models: Triple, texts: Texts, rules: Mapping[str, KeepRule], num_speculative_tokens: int
) -> dict[str, MeanBias]:
    """The bias of every rule along the same text of the target, with the same coins."""
    steps = {name: _Steps(rule, len(texts.prompts), num_speculative_tokens) for name, rule in rules.items()}
    coins = texts.uniforms("steps")
    for t, (p, q, c, tokens) in enumerate(laws_along_text(models, texts)):
        for each in steps.values():
            each.move(p, q, c, tokens, coins[:, t])
    return {name: each.mean(texts.num_positions) for name, each in steps.items()}
