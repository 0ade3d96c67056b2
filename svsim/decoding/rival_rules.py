"""Compiled rules of other published controllers; signature and conventions as in ``selection_rules``.

Those that decide before the draft (SmartSpec, AdaEDL, the ladder) verify all that is drafted; those that
decide after it (TETRIS, DSpark, vLLM's adaptive verification) rank what was drafted by survival.
"""

from svsim.compiled import compiled
from svsim.decoding.selection_rules import (
    DRAFT_S,
    LAST_ACCEPTED,
    LAST_VERIFIED,
    NEWS_SIZE,
    NUM_LEVELS,
    RULE,
    TOP_LEVEL,
    count_levels,
    select_best,
    take_prefixes,
)

_COUNT = (1 << 32) - 1
# of the rules' own memory: of predicted_goodput alpha and the length, of adaptive_entropy the rate and lambda
_STARTED, _RATE, _CHOICE, _CLOCK, _IDLE = range(NEWS_SIZE, NEWS_SIZE + 5)
_BUDGETS = _IDLE + 1


@compiled()
def _same_for_all(n, length, lengths):  # type: ignore[no-untyped-def]
    lengths[:n] = length
    return n * length


@compiled(RULE)
def batch_size_ladder(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """vLLM's ``num_speculative_tokens_per_batch_size``: options = [largest batch, length, ...], rising.

    Batches above the last rung draft nothing.
    """
    length = 0
    for rung in range(options.size // 2):
        if n <= options[2 * rung]:
            length = min(int(options[2 * rung + 1]), candidates.shape[1])
            break
    return _same_for_all(n, length, lengths)


@compiled(RULE)
def predicted_goodput(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """SmartSpec / TurboSpec (arXiv 2406.14066): one length for the batch, by predicted goodput.

    alpha is a moving average of accepted / drafted; every ``every`` steps the lengths 0, 1, .. K are tried
    in order while n (1 - alpha^(k+1)) / (1 - alpha) / step time rises; goodput without speculation counts
    ``caution`` times. Without drafts alpha would stand still: after ``retry`` such steps it starts anew (as
    the source's code does for its n-gram drafter). options = [every, smoothing, first alpha, caution, retry].
    """
    if memory[_STARTED] == 0.0:
        memory[_STARTED], memory[_RATE], memory[_IDLE] = 1.0, options[2], 0.0
    elif memory[LAST_VERIFIED] > 0.0:
        memory[_RATE] += options[1] * (memory[LAST_ACCEPTED] / memory[LAST_VERIFIED] - memory[_RATE])
        memory[_IDLE] = 0.0
    else:
        memory[_IDLE] += 1.0
        if memory[_IDLE] == options[4]:
            memory[_RATE], memory[_IDLE] = options[2], 0.0
    if memory[_CLOCK] % options[0] == 0.0:
        alpha, tokens, best, choice = memory[_RATE], 1.0, 0.0, 0
        for k in range(candidates.shape[1] + 1):
            goodput = n * tokens / (fixed_s + memory[DRAFT_S + k] + verify_s[n * k])
            goodput *= options[3] if k == 0 else 1.0
            if goodput <= best:
                break
            best, choice = goodput, k
            tokens += alpha ** (k + 1)
        memory[_CHOICE] = choice
    memory[_CLOCK] += 1.0
    return _same_for_all(n, int(memory[_CHOICE]), lengths)


@compiled(RULE)
def adaptive_entropy(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """AdaEDL (arXiv 2410.18351): draft until 1 - sqrt(gamma H) < lambda; lambda follows acceptance.

    ``candidates`` hold the bound 1 - sqrt(gamma H) of each token as a level. After a step, the moving
    average of accepted / drafted (weight ``forget`` on its past) raises lambda by ``pace`` if it is below
    ``aim`` and lowers it otherwise, smoothed by ``smooth``: the controller of Draft & Verify (arXiv
    2309.08168). options = [first lambda, aim, pace, forget, smooth].
    """
    rate, threshold = _RATE, _CHOICE
    if memory[_STARTED] == 0.0:
        memory[_STARTED], memory[threshold], memory[rate] = 1.0, options[0], options[1]
    elif memory[LAST_VERIFIED] > 0.0:
        last = memory[LAST_ACCEPTED] / memory[LAST_VERIFIED]
        memory[rate] = options[3] * memory[rate] + (1.0 - options[3]) * last
        step = options[2] if memory[rate] <= options[1] else -options[2]
        memory[threshold] += (1.0 - options[4]) * step
    least, tokens = memory[threshold] * TOP_LEVEL, 0
    for i in range(n):
        length = 1
        while length < candidates.shape[1] and candidates[i, length - 1] >= least:
            length += 1
        lengths[i] = length
        tokens += length
    return tokens


@compiled()
def _take_best(n, candidates, budget, scratch, lengths):  # type: ignore[no-untyped-def]
    """Admit the ``budget`` candidates of largest survival, lowest sequence first among equals."""
    levels = scratch[:NUM_LEVELS]
    count_levels(n, candidates, 0, levels)
    tokens, cut = 0, 0
    for level in range(TOP_LEVEL, 0, -1):
        here = levels[level] & _COUNT
        if tokens + here > budget:
            cut = level
            break
        tokens += here
    take_prefixes(n, candidates, 0, cut, budget - tokens, lengths)
    return budget


@compiled(RULE)
def fixed_budget(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """TETRIS (arXiv 2502.15197): the best n (K - extra) tokens of the batch. options = [extra]."""
    return _take_best(n, candidates, n * (candidates.shape[1] - int(options[0])), scratch, lengths)


@compiled(RULE)
def earlier_budget(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """vLLM's adaptive verification: the best tokens up to a budget sized on an earlier step's survival.

    The budget per sequence is what would have brought the best goodput ``lag`` steps ago; the first steps
    verify everything. options = [objective, min_verify, lag], the first two as for ``best_goodput``.
    """
    k, lag = candidates.shape[1], int(options[2])
    budget = n * k
    if memory[_CLOCK] >= lag:
        budget = int(memory[_BUDGETS] * n + 0.5)
    for step in range(lag - 1):
        memory[_BUDGETS + step] = memory[_BUDGETS + step + 1]
    best = select_best(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths)
    memory[_BUDGETS + lag - 1] = best / n
    memory[_CLOCK] += 1.0
    return _take_best(n, candidates, budget, scratch, lengths)


@compiled(RULE)
def strict_rise(n, candidates, verify_s, fixed_s, options, memory, scratch, lengths):  # type: ignore[no-untyped-def]
    """DSpark's scheduler (arXiv 2607.05147, algorithm 1): admit by survival while goodput strictly rises.

    The first token that does not raise (n + sum of survivals) / step time ends it. No options.
    """
    levels = scratch[:NUM_LEVELS]
    count_levels(n, candidates, 0, levels)
    tokens, value = 0, n * TOP_LEVEL
    for level in range(TOP_LEVEL, 0, -1):
        for taken in range(levels[level] & _COUNT):
            now_s, next_s = fixed_s + verify_s[tokens], fixed_s + verify_s[tokens + 1]
            if (value + level) * now_s <= value * next_s:
                take_prefixes(n, candidates, 0, level, taken, lengths)
                return tokens
            tokens += 1
            value += level
    take_prefixes(n, candidates, 0, 0, 0, lengths)
    return tokens
