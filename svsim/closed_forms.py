"""Closed forms of published systems: tokens per round, cost of a round, speedup. Plain floats, no arrays.

Words: ``accept_prob`` a: the chance that a draft token is accepted, given that all before it were; tokens per
round include the recovered or bonus token; times are in units of one target-only step unless named otherwise.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush


def tokens_per_round(accept_prob: float, num_draft_tokens: int) -> float:
    """(1 - a^(k+1)) / (1 - a), bonus included; k + 1 at a = 1 (Leviathan et al., arXiv 2211.17192, eq. 1)."""
    return sum(accept_prob**depth for depth in range(num_draft_tokens + 1))


def round_speedup(tokens: float, num_draft_tokens: int, draft_cost: float, verify_cost: float = 1.0) -> float:
    """Tokens of a round over its time: k draft passes and one verification (2211.17192, theorem 3.8)."""
    return tokens / (num_draft_tokens * draft_cost + verify_cost)


def operations_factor(accept_prob: float, num_draft_tokens: int, draft_operations: float) -> float:
    """Arithmetic per token over target-only decoding's: (k c + k + 1) / tokens (2211.17192, theorem 3.11)."""
    work = num_draft_tokens * draft_operations + num_draft_tokens + 1
    return work / tokens_per_round(accept_prob, num_draft_tokens)


def accept_prob_of(tokens: float, num_draft_tokens: int) -> float:
    """The constant acceptance at which a round of k draft tokens yields ``tokens``, 1 to k + 1."""
    return _root(lambda a: tokens_per_round(a, num_draft_tokens) - tokens, 0.0, 1.0)


def pearl_post_share(accept_prob: float, num_draft_tokens: int) -> float:
    """Share of PEARL's steps that verify a whole block (arXiv 2408.11850): a / (a + 1 - a^gamma).

    Before a block is trusted its first token is verified alone; accepted (a) opens the next state, a broken
    block (1 - a^gamma) closes it.
    """
    return accept_prob / (accept_prob + 1.0 - accept_prob**num_draft_tokens)


def pearl_tokens_per_step(accept_prob: float, num_draft_tokens: int) -> float:
    """PEARL's tokens per step: 1 before a block is trusted, else (1 - a^gamma) / (1 - a); no bonus token."""
    post = pearl_post_share(accept_prob, num_draft_tokens)
    return 1.0 - post + post * tokens_per_round(accept_prob, num_draft_tokens - 1)


def tokens_of_survival(survival: Sequence[float]) -> float:
    """1 + the sum of the chances that depth 1, 2, ... is accepted (Kangaroo's CTAR, arXiv 2404.18911)."""
    return 1.0 + sum(survival)


def early_exit_round(
    num_draft_tokens: float, exit_layers: float, num_layers: float, draft_extra: float, head: float
) -> float:
    """A self-drafting round in target-only steps; all arguments in layers (Kangaroo, arXiv 2404.18911).

    d + 1 tokens pass the first layers one by one, d pass adapter and head (``draft_extra``), the remaining
    layers and the head verify once.
    """
    drafting = (num_draft_tokens + 1) * exit_layers + num_draft_tokens * draft_extra
    return (drafting + num_layers - exit_layers + head) / (num_layers + head)


def exit_tokens_per_layer(
    accept_prob: float, num_draft_tokens: int, exit_layers: float, num_layers: float
) -> float:
    """DEL's score (arXiv 2504.05598): tokens of a round over d l + L layers."""
    return tokens_per_round(accept_prob, num_draft_tokens) / (num_draft_tokens * exit_layers + num_layers)


def memory_bound_speedup(tokens: float, weights_ratio: float, num_draft_tokens: float) -> float:
    """MBSU (VocabTrim, arXiv 2506.22694): tokens / (1 + c gamma), c = draft over target parameters read."""
    return tokens / (1.0 + weights_ratio * num_draft_tokens)


def capped_cache_ratio(excess: float, per_sequence: float, batch_size: float) -> float:
    """A draft pass with a fixed KV budget over a full pass: (e + c / B) / (1 + c / B).

    c: weights over one sequence's KV, in bytes; e: what a draft pass costs per sequence beside the weights,
    in units of that KV (after MagicDec, arXiv 2408.11049).
    """
    weights = per_sequence / batch_size
    return (excess + weights) / (1.0 + weights)


def parallel_attention_pass(attention_share: float, num_parallel: float) -> float:
    """A draft pass whose attention layers run n at a time: 1 - a (1 - 1/n) (EasySpec, arXiv 2502.02493)."""
    return 1.0 - attention_share * (1.0 - 1.0 / num_parallel)


def switched_cost(large_share: float, small_over_large: float) -> float:
    """Cost per token where a share of them comes from the large model (EAD, arXiv 2502.06833)."""
    return large_share + (1.0 - large_share) * small_over_large


def second_chance_accept_prob(accept_prob: float, share: float) -> float:
    """Acceptance where a share of the rejected tokens passes all the same: a + (1 - a) share."""
    return accept_prob + (1.0 - accept_prob) * share


def best_tree_tokens(rank_acceptance: Sequence[float], num_nodes: int, depth: int) -> float:
    """1 + the chances of the ``num_nodes`` likeliest nodes of a static tree at most ``depth`` deep.

    rank_acceptance: the chance that the token is the drafter's 1st, 2nd, ... choice, the same at every node.
    A node's chance is the product along its path, so the likeliest nodes form a tree, and it is the best of
    its size: what Sequoia's recursion finds (arXiv 2402.12374).
    """
    ranks = sorted(rank_acceptance, reverse=True)
    frontier = [(-chance, 1) for chance in ranks] if depth > 0 else []
    heapify(frontier)
    tokens = 1.0
    for _ in range(num_nodes):
        if not frontier:
            break
        chance, level = heappop(frontier)
        tokens -= chance
        if level < depth:
            for rank in ranks:
                heappush(frontier, (chance * rank, level + 1))
    return tokens


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """The zero of a rising function; an end of the interval where there is none inside."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2
