"""The rivals' compiled rules against literal readings, step by step where they remember."""

import numpy as np
import pytest
from support.rival_reference import AdaEdl, Compiled, Dspark, Ladder, Seen, SmartSpec, Tetris, VllmAdaptive
from support.rule_reference import KINDS, chains, prices

from svsim.decoding.presets import parse_method
from svsim.decoding.selection_rules import (
    NUM_LEVELS,
    TOP_LEVEL,
    best_goodput,
    encode_survival,
)
from svsim.limits import MAX_SPECULATIVE_TOKENS


def rule_of(text, k):
    """The compiled rule of a method as the command line spells it."""
    selection = parse_method(text, k).selection
    return Compiled(selection.rule, selection.options)


def random_step(rng, n, k, kind=None, decreasing=True):
    """Levels with many ties and zeros, whole prices, and news of a last step."""
    levels = chains(rng, n, k, int(rng.integers(2, 6)))
    if not decreasing:
        levels = rng.integers(0, NUM_LEVELS, (n, k)).astype(np.uint16)
    verify_s = prices(rng, kind or KINDS[rng.integers(len(KINDS))], n, k)
    draft_s = np.concatenate([[0], np.cumsum(rng.integers(0, 12, k))])
    verified = int(rng.integers(0, n * k + 1)) * int(rng.random() < 0.8)
    accepted = int(rng.integers(0, verified + 1))
    return Seen(
        levels.tolist(),
        lambda e: int(verify_s[e]),
        int(rng.integers(0, 100)),
        draft_s.tolist(),
        accepted,
        verified,
    )


def sizes(rng, most=4):
    return tuple(int(x) for x in rng.integers(1, most, 2))


# -- rules without memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_tetris_takes_the_best_of_the_batch(extra):
    rng = np.random.default_rng(extra)
    for _ in range(500):
        n, k = int(rng.integers(1, 5)), int(rng.integers(extra + 1, extra + 4))
        seen = random_step(rng, n, k)
        got = rule_of(f"tetris:k={k},extra={extra}", k).lengths(seen)
        assert got == Tetris(extra).lengths(seen), seen
        assert sum(got) == n * (k - extra)


def test_tetris_fills_its_number_with_worthless_tokens():
    """The number is fixed: zeros are verified too, lowest sequence first."""
    seen = Seen([[0, 0], [900, 0], [0, 0]], lambda e: 1 + e, 1, [0, 1, 2])
    assert rule_of("tetris:k=2,extra=1", 2).lengths(seen) == [2, 1, 0]


@pytest.mark.parametrize("search", ["causal", "global"])
def test_dspark_is_algorithm_1(search):
    rng = np.random.default_rng(len(search))
    chosen = set()
    for _ in range(1500):
        n, k = sizes(rng)
        seen = random_step(rng, n, k)
        got = rule_of(f"dspark:k={k},search={search}", k).lengths(seen)
        assert got == Dspark(search).lengths(seen), seen
        chosen.add(sum(got) / (n * k))
    assert len(chosen) > 5


def test_dspark_causal_and_global_agree_where_prices_are_convex():
    """One decline is then the last word, as for SV's two stopping rules; an equal goodput ends both."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        n, k = sizes(rng)
        seen = random_step(rng, n, k, kind="convex")
        causal, best = (rule_of(f"dspark:k={k},search={s}", k).lengths(seen) for s in ("causal", "global"))
        assert causal == best


def test_dspark_causal_stops_before_a_stair_that_would_pay():
    """The price of causality: a stair of two tokens, of which the first alone does not pay."""
    seen = Seen([[900, 880]], lambda e: [10, 20, 20][e], 0, [0, 0, 0])
    assert rule_of("dspark:k=2", 2).lengths(seen) == [0]
    assert rule_of("dspark:k=2,search=global", 2).lengths(seen) == [2]


def test_the_ladder_of_vllm():
    rungs = Ladder((1, 2, 4), (3, 5, 2), (6, 6, 0), (7, 8, 1))
    compiled = rule_of("vllm-ladder:ladder=2-4/5-2/6-0/8-1", 4)
    for n in range(1, 11):
        seen = random_step(np.random.default_rng(n), n, 4)
        assert compiled.lengths(seen) == rungs.lengths(seen)
    assert rungs.lengths(Seen([[0] * 4] * 9, None, 0, [])) == [0] * 9  # longer batches draft nothing


# -- rules with memory: the same steps, one after another --------------------------------------------------


def same_all_along(compiled, literal, rng, num_steps, n, k, **kind):
    """Both are told the same news for ``num_steps`` steps; batch sizes up to n. Returns total lengths."""
    totals = []
    for step in range(num_steps):
        seen = random_step(rng, int(rng.integers(1, n + 1)), k, **kind)
        got = compiled.lengths(seen)
        assert got == literal.lengths(seen), (step, seen)
        totals.append(sum(got) / len(got))
    return totals


@pytest.mark.parametrize("every", [1, 3, 20])
@pytest.mark.parametrize("retry", [1, 4, 100])
def test_smartspec_step_by_step(every, retry):
    rng = np.random.default_rng([every, retry])
    seen = []
    for repeat in range(12):
        n, k = sizes(rng, 6)
        start, smoothing, caution = float(rng.random() * 0.99), float(rng.random()), 1.0 + repeat % 3 / 10
        text = f"smartspec:k={k},every={every},retry={retry},start={start:.3f},smoothing={smoothing:.3f}"
        compiled = rule_of(f"{text},caution={caution:.1f}", k)
        literal = SmartSpec(every, float(f"{smoothing:.3f}"), float(f"{start:.3f}"), caution, retry)
        seen += same_all_along(compiled, literal, rng, 60, n, k)
    assert 0 in seen and len(set(seen)) >= 3, "lengths never change: the test would be empty"


def steady(n, k, verify_s, draft_s=0.0, fixed_s=0.0, **news):
    return Seen([[0] * k] * n, verify_s, fixed_s, [j * draft_s for j in range(k + 1)], **news)


def test_smartspec_tries_again_after_a_while_without_drafts():
    """Dear verification ends speculation; ``retry`` steps later alpha starts anew, cheap again or not."""
    rule = rule_of("smartspec:k=3,every=1,retry=5,start=0.7", 3)
    bad = steady(2, 3, lambda e: 10 + e, accepted=0, verified=6)
    for _ in range(60):
        lengths = rule.lengths(bad)
    assert lengths == [0, 0]  # alpha is about 0
    history = [rule.lengths(steady(2, 3, lambda e: 10 + e / 100)) for _ in range(6)]
    assert history == [[0, 0]] * 4 + [[3, 3]] * 2


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.8, 0.9])
@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.2, 0.5])
def test_smartspec_at_batch_1_is_leviathans_best_length(alpha, ratio):
    """Flat verification, drafts at c of its price: argmax of (1 - a^(g+1)) / ((1 - a)(g c + 1))."""
    k = 20
    rule = rule_of(f"smartspec:k={k},start={alpha},caution=1.0", k)
    gains = [(1 - alpha ** (g + 1)) / ((1 - alpha) * (g * ratio + 1)) for g in range(k + 1)]
    assert rule.lengths(steady(1, k, lambda e: 1.0, ratio)) == [int(np.argmax(gains))]


def test_smartspec_ends_at_a_tie():
    """As the source's code: a length that is not better than the one before ends the search."""
    assert rule_of("smartspec:k=4,start=0,caution=1.0", 4).lengths(steady(1, 4, lambda e: 5)) == [0]


@pytest.mark.parametrize("start", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("aim", [0.3, 0.9])
def test_adaedl_step_by_step(start, aim):
    rng = np.random.default_rng([int(start * 10), int(aim * 10)])
    seen = []
    for _ in range(6):
        n, k = sizes(rng, 6)
        pace, forget, smooth = (float(f"{x:.2f}") for x in rng.random(3) * (0.5, 1.0, 0.9))
        text = f"adaedl:k={k},start={start},aim={aim},pace={pace},forget={forget},smooth={smooth}"
        literal = AdaEdl(start, aim, pace, forget, smooth)
        seen += same_all_along(rule_of(text, k), literal, rng, 80, n, k, decreasing=False)
    assert min(seen) == 1.0 and len(set(seen)) > 3


@pytest.mark.parametrize(("accepted", "rises"), [(2, True), (3, False)])
def test_adaedl_steers_towards_its_aim(accepted, rises):
    """Acceptance below the aim raises lambda and shortens the draft; above, the other way round."""
    rule = rule_of("adaedl:k=4,start=0.5,aim=0.6", 4)
    bounds = [[800, 640, 520, 480]]
    before = rule.lengths(Seen(bounds, lambda e: e, 0, [0] * 5))
    for _ in range(400):
        after = rule.lengths(Seen(bounds, lambda e: e, 0, [0] * 5, accepted=accepted, verified=4))
    assert before == [4]
    assert after == ([1] if rises else [4])


@pytest.mark.parametrize("lag", [1, 2])
def test_vllm_adaptive_step_by_step(lag):
    rng = np.random.default_rng(lag)
    seen = []
    for _ in range(25):
        n, k = sizes(rng, 5)
        rule = rule_of(f"vllm-adaptive:k={k},lag={lag}", k)
        seen += same_all_along(rule, VllmAdaptive(lag), rng, 25, n, k)
    assert 0 in seen and len(set(seen)) > 10


@pytest.mark.parametrize("lag", [1, 2])
def test_vllm_adaptive_spends_the_budget_of_an_earlier_step(lag):
    """A step's own survival decides who is verified, never how many."""
    rule = rule_of(f"vllm-adaptive:k=2,lag={lag}", 2)
    good, bad = [[1000, 990], [980, 970]], [[20, 10], [0, 0]]

    def verified(levels):
        return sum(rule.lengths(Seen(levels, lambda e: 10 + 2 * e, 0, [0] * 3)))

    assert [verified(good) for _ in range(lag)] == [4] * lag
    assert [verified(bad) for _ in range(lag)] == [4] * lag
    assert [verified(good) for _ in range(lag)] == [0] * lag


# -- sizes at the edge ---------------------------------------------------------------------------------------

LITERAL = {
    "smartspec": SmartSpec,
    "adaedl": AdaEdl,
    "tetris": Tetris,
    "dspark": Dspark,
    "vllm-adaptive": VllmAdaptive,
    "vllm-ladder": lambda: Ladder((1, 64, 3), (65, 128, 1)),
}


SIZES = [(1, 1), (2, MAX_SPECULATIVE_TOKENS), (1, 7), (70, 3)]
# tetris always leaves one of k tokens out
EDGES = [(name, n, k) for name in LITERAL for n, k in SIZES if name != "tetris" or k > 1]


@pytest.mark.parametrize(("name", "n", "k"), EDGES)
def test_one_token_to_the_longest_chain(name, n, k):
    """Few steps, for the literal readings are slow; survival of all levels, prices of every kind."""
    rng = np.random.default_rng([n, k])
    compiled, literal = rule_of(name, k), LITERAL[name]()
    for kind in ("line", "stairs", "flat"):
        seen = random_step(rng, n, k, kind=kind)
        survival = np.cumprod(rng.beta(9, 0.3, (n, k)), axis=1)
        seen.levels = encode_survival(survival).tolist()
        assert compiled.lengths(seen) == literal.lengths(seen)


def test_a_batch_of_certain_and_of_worthless_tokens():
    for level, dspark in ((TOP_LEVEL, [3, 3]), (0, [0, 0])):
        seen = Seen([[level] * 3] * 2, lambda e: 10 + e, 5, [0, 1, 2, 3])
        assert rule_of("dspark:k=3", 3).lengths(seen) == dspark
        assert rule_of("tetris:k=3", 3).lengths(seen) == [3, 1]
        assert rule_of("adaedl:k=3", 3).lengths(seen) == ([3, 3] if level else [1, 1])


def test_dspark_global_is_svs_best_prefix():
    """The two differ by their belief alone."""
    assert parse_method("dspark:search=global").selection.rule is best_goodput
    assert parse_method("sv").selection.options == parse_method("dspark:search=global").selection.options
