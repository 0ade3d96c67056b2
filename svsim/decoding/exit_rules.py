"""DEL's rule (arXiv 2504.05598): which exit layer drafts, and how many tokens; compiled, one call per step.

Signature and conventions as in ``selection_rules``. Its part of the memory lies behind theirs: what a step
shows of every exit is news that the engine writes, seconds of every choice before the rule is asked.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.decoding.selection_rules import MEMORY_SIZE, NEWS_SIZE, RULE

MAX_EXITS, MAX_EXIT_TOKENS = 32, 32
# written by the rule: the exit's number; by the engine: rows seen in the last step, matches there by exit,
# and seconds of drafting and verification by exit and tokens
EXIT = MEMORY_SIZE
SEEN = EXIT + 1
MATCHES = SEEN + 1
EXIT_S = MATCHES + MAX_EXITS
EXIT_MEMORY_SIZE = EXIT_S + MAX_EXITS * (MAX_EXIT_TOKENS + 1) + MAX_EXITS + 1
_STARTED, _WEIGHT = NEWS_SIZE, EXIT_MEMORY_SIZE - MAX_EXITS - 1
_SUMS = _WEIGHT + 1
FIRST_GUESS = 0.5  # ours: acceptance of every exit, with the weight of one row

Accepted = NDArray[np.uint8]


def exit_options(
    forget: float, by_price: bool, fixed: tuple[int, int], num_layers: int, layers: Sequence[int]
) -> tuple[float, ...]:
    """Options of ``best_exit``. fixed: number of an exit, and tokens; -1: to be chosen."""
    return (forget, float(by_price), *map(float, fixed), float(num_layers), *map(float, layers))


def runs_of_matches(match: NDArray[np.float32], first_position: NDArray[np.int64], most: int) -> Accepted:
    """Tokens that an exit gets right one after another from each row on, within its request, uint8 [T, E]."""
    rows = np.arange(len(match))
    end = np.repeat(first_position[1:], np.diff(first_position))
    runs = np.empty(match.shape, np.uint8)
    for e in range(match.shape[1]):
        wrong = np.append(np.flatnonzero(match[:, e] < 0.5), len(match))
        stop = np.minimum(wrong[np.searchsorted(wrong, rows)], end)
        runs[:, e] = np.minimum(stop - rows, most)
    return runs


@compiled(RULE)
def best_exit(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """Exit l and length d with the most expected tokens per layer, or per second; the same for the batch.

    (1 - alpha^(d+1)) / (1 - alpha) tokens at a cost of d l + L layers, or the step's seconds. alpha of an
    exit: its matches by rows seen, both forgotten by ``forget`` a step. Ties: the earlier exit, fewer tokens.
    options = [forget, by price, fixed exit, fixed length, L, layers of the exits].
    """
    k, num_exits, layers = candidates.shape[1], options.size - 5, options[5:]
    if memory[_STARTED] == 0.0:
        memory[_STARTED], memory[_WEIGHT] = 1.0, 1.0
        memory[_SUMS : _SUMS + num_exits] = FIRST_GUESS
    else:
        memory[_WEIGHT] = options[0] * memory[_WEIGHT] + memory[SEEN]
        for e in range(num_exits):
            memory[_SUMS + e] = options[0] * memory[_SUMS + e] + memory[MATCHES + e]
    best, best_cost, length = 0.0, 1.0, 0
    memory[EXIT] = max(options[2], 0.0)
    for e in range(num_exits):
        if options[2] >= 0.0 and e != options[2]:
            continue
        alpha, tokens, power = memory[_SUMS + e] / memory[_WEIGHT], 1.0, 1.0
        for d in range(k + 1):
            cost = d * layers[e] + options[4]
            if options[1] > 0.0:
                cost = fixed_s + memory[EXIT_S + e * (k + 1) + d]
            is_asked = options[3] < 0.0 or d == options[3]
            if is_asked and tokens * best_cost > best * cost:
                best, best_cost, length, memory[EXIT] = tokens, cost, d, e
            power *= alpha
            tokens += power
    lengths[:n] = length
    return n * length
