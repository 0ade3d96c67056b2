"""The losslessness laboratory: exact laws of the emitted text on tiny vocabularies, method by method.

Every draft, coin and recovered token is summed, so a bias of 0 is 0 up to rounding. What is labelled
lossless must have none; what is not must show the bias that is stated here: these are negative controls.
"""

from itertools import product

import numpy as np
import pytest
from support.tiny_models import TinyModels, joint_bias, total_variation
from support.tiny_plans import Plan, Prices, first_decline, greedy_budget, lengths_that_vary, survival_of

from svsim.decoding.method import Losslessness
from svsim.decoding.presets import PRESETS, parse_method
from svsim.decoding.selection_rules import best_goodput

EXACT = 1e-12
ONE_SEQUENCE = [(v, k) for v, k in product((2, 3, 4), (1, 2, 3)) if v**k <= 32]
TWO_SEQUENCES = [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 1)]
# method -> least mean bias under sampling, for one sequence and for two (None: no bias at all)
METHODS = {
    "td": (None, None),
    "sd:k={k}": (None, None),
    "sv:k={k}": (0.02, 0.03),
    "sv:k={k},stop=first-drop": (0.02, 0.03),
    "sv:k={k},objective=accepted": (0.005, 0.01),
    "sv:k={k},min_verify=1": (0.005, 0.003),
    "sv-lossless:k={k}": (None, None),
    "sv-lossless:k={k},unseen=histogram": (None, None),
    "smartspec:k={k},every=1,smoothing=1": (None, None),
    "vllm-ladder:ladder=1-{k}/2-1": (None, None),
    "eagle:k={k}": (None, None),
    "svip:k={k}": (None, None),
    "adaedl:k={k},start=0.58": (None, None),
    "disco:k={k}": (None, None),
    "dyspec:k={k},threshold=0.3": (None, None),
    "staged:k={k}": (0.05, 0.05),
    "dspark:k={k}": (None, None),
    "dspark:k={k},search=global": (0.001, 1e-4),
    "vllm-adaptive:k={k}": (None, None),
    "vllm-adaptive:k={k},signal=similarity,lag=2": (None, None),
    "kangaroo:k={k},eta=0.4": (None, None),
    "magicdec:k={k}": (None, None),
    "easyspec:k={k}": (None, None),
}
FIXED = (
    "td",
    "sd",
    "smartspec",
    "vllm-ladder",
    "eagle",
    "magicdec",
    "easyspec",
)  # the same length for every draft
BOUNDS = {"oracle", "oracle-belief"}
# in test_lossy_methods, test_switching_is_lossy, test_exit_methods
OTHER_DRAFTS = {"judge", "reflect", "diffuspec", "ead", "del"}
TETRIS = {"tetris"}  # leaves something out: it needs K >= 2
PARALLEL = {"pearl"}  # a draft outlives its step: test_losslessness_in_parallel
# test_losslessness_of_trees
TREES = {"tree", "medusa", "sequoia", "eagle2", "eagle3", "stree", "longspec"}
ASKED = {"joint"}  # before every draft pass: see test_joint_lossless


def rng_of(*key):
    return np.random.default_rng([len(str(key)), *map(ord, str(key))])


def spec_of(method, k):
    return method.format(k=k)


def shares_that_choose(method, laboratory):
    """Least share of the models (of K > 1) on which lengths must differ between drafts."""
    name = method.partition(":")[0]
    if name in FIXED or (name == "vllm-adaptive" and laboratory is one_sequence):  # a budget for one
        return 0.0
    return 0.5 if name in ("sv", "sv-lossless") else 0.1


def one_sequence(method, repeats=2, **kind):
    """(K, bias, lengths) on random models of every size."""
    for size, repeat in product(ONE_SEQUENCE, range(repeats)):
        rng = rng_of(method, size, repeat)
        models = TinyModels.random(rng, *size, **kind)
        lengths = lengths_that_vary(rng, spec_of(method, size[1]), [models])
        yield size[1], models.bias(lengths), lengths


def two_sequences(method, rule=None, widths=(1, 2, 3), repeats=2, sizes=TWO_SEQUENCES, **kind):
    """(K, bias of the joint law, lengths) on pairs of random models of every size."""
    for size, repeat in product(sizes, range(repeats)):
        rng = rng_of(method, size, repeat)
        pair = [TinyModels.random(rng, *size, **kind) for _ in range(2)]
        lengths = lengths_that_vary(rng, spec_of(method, size[1]), pair, rule, widths)
        yield size[1], joint_bias(*pair, lengths), lengths


def test_every_preset_is_in_the_laboratory():
    elsewhere = TETRIS | BOUNDS | OTHER_DRAFTS | PARALLEL | ASKED | TREES
    assert {m.partition(":")[0] for m in METHODS} | elsewhere == set(PRESETS)


@pytest.mark.parametrize("laboratory", [one_sequence, two_sequences])
@pytest.mark.parametrize("method", METHODS)
def test_bias_is_what_the_label_says(method, laboratory):
    label = parse_method(spec_of(method, 3)).lossless
    least = METHODS[method][laboratory is two_sequences]
    sizes, biases, lengths = zip(*laboratory(method), strict=True)
    chosen = [len(np.unique(some)) > 1 for k, some in zip(sizes, lengths, strict=True) if k > 1]
    assert np.mean(chosen) >= shares_that_choose(method, laboratory), "nothing to choose: an empty test"
    assert (label is Losslessness.LOSSLESS) == (least is None)
    if least is None:
        assert max(biases) < EXACT
    else:
        assert np.mean(biases) > least


@pytest.mark.parametrize("kind", [{"greedy": True}, {"deterministic_draft": True}])
@pytest.mark.parametrize("laboratory", [one_sequence, two_sequences])
@pytest.mark.parametrize("method", METHODS)
def test_greedy_targets_and_deterministic_drafts_are_not_affected(method, laboratory, kind):
    assert max(bias for _, bias, _ in laboratory(method, repeats=1, **kind)) < EXACT


@pytest.mark.parametrize("kind", [{}, {"greedy": True}, {"deterministic_draft": True}])
def test_tetris_looks_where_sequences_compete(kind):
    """A fixed budget for the batch, spent by the probabilities of its drafted tokens."""
    spec = "tetris:k={k}"
    assert parse_method("tetris:k=3").lossless is Losslessness.GREEDY_ONLY
    pairs = list(two_sequences(spec, sizes=[size for size in TWO_SEQUENCES if size[1] > 1], **kind))
    biases = [bias for _, bias, _ in pairs]
    assert max(biases) < EXACT if kind else np.mean(biases) > 0.02
    alone = TinyModels.random(rng_of(spec), 3, 3, **kind)
    assert alone.bias(Plan("tetris:k=3", [alone], Prices.rising(0.3, 1, 3)).of_one(alone)) < EXACT


def test_a_bound_that_knows_the_acceptance_is_biased_unless_greedy():
    assert parse_method("oracle-belief").lossless is Losslessness.GREEDY_ONLY
    assert np.mean([bias for _, bias, _ in one_sequence("oracle-belief:k={k}")]) > 0.01
    assert max(bias for _, bias, _ in one_sequence("oracle-belief:k={k}", greedy=True)) < EXACT


@pytest.mark.parametrize(
    ("kind", "least"), [({}, 0.02), ({"greedy": True}, None), ({"deterministic_draft": True}, 0.02)]
)
def test_the_oracle_is_a_bound_and_no_method(kind, least):
    """Verifying exactly what the coins will accept, it draws from p where a rejection was due.

    Biased unless greedy; deterministic drafts do not help it: it looks at coins, not at tokens.
    """
    assert parse_method("oracle").lossless is Losslessness.GREEDY_ONLY
    biases = []
    for size in ONE_SEQUENCE:
        models = TinyModels.random(rng_of("oracle", size), *size, **kind)
        accepted, law = models.accepted_law() * models.draft_law[:, None], np.zeros_like(models.text_law)
        for x, chances in zip(models.drafts, accepted, strict=True):
            for length, chance in enumerate(chances):
                if chance > 0.0:
                    rest = models.text_law[*x[:length]]
                    law[*x[:length]] += chance * rest / rest.sum()
        biases.append(total_variation(law, models.text_law))
    assert max(biases) < EXACT if least is None else np.mean(biases) > least


# -- rules of rivals: what may a threshold look at? ------------------------------------------------------

# signal, threshold -> least mean bias of keeping tokens while the signal is at least that (None: none at all)
THRESHOLDS = {
    ("companion_accept", 0.6): 0.05,
    ("draft_prob", 0.3): 0.05,
    ("draft_prob", 0.4): 0.05,
    ("similarity", 0.7): None,
    ("max_draft_prob", 0.6): None,
    ("minus_draft_entropy", -0.8): None,
}


@pytest.mark.parametrize(("signal", "threshold"), THRESHOLDS)
def test_thresholds_may_look_at_the_law_but_not_at_the_token(signal, threshold):
    biases, shares = [], []
    for size, repeat in product(ONE_SEQUENCE, range(8)):
        models = TinyModels.random(rng_of("threshold", size, repeat), *size)
        scores = {**models.signals, "minus_draft_entropy": -models.signals["draft_entropy"]}[signal]
        lengths = first_decline(scores, threshold)
        biases.append(models.bias(lengths))
        shares.append(models.draft_law @ (lengths > 0))
    assert 0.1 < np.mean(shares) < 0.9
    least = THRESHOLDS[signal, threshold]
    assert max(biases) < EXACT if least is None else np.mean(biases) > least


def test_a_threshold_on_survival_is_lossless_once_it_leaves_the_token_out():
    """The same threshold on SV's survival (which looks at A of the token) and on the causal one."""
    biases = {"sv": [], "sv-lossless": []}
    for name, size, repeat in product(biases, ONE_SEQUENCE, range(4)):
        rng = rng_of("survival", size, repeat)
        models = TinyModels.random(rng, *size)
        survival = survival_of(Plan(f"{name}:k={size[1]}", [models]).method, models)
        biases[name].append(models.bias(first_decline(survival, 400)))
    assert np.mean(biases["sv"]) > 0.02
    assert max(biases["sv-lossless"]) < EXACT


def test_a_full_scan_is_lossy_even_with_causal_scores():
    """On stairs the best prefix in hindsight buys a token for the sake of those behind it.

    Where step time is convex the best prefix ends at the first decline, and one token deep there is
    nothing behind: then hindsight changes nothing.
    """
    stairs, convex = (list(two_sequences("sv-lossless:k={k}", best_goodput, (w,))) for w in (4, 1))
    assert np.mean([bias for k, bias, _ in stairs if k > 1]) > 0.01
    assert max(bias for k, bias, _ in stairs if k == 1) < EXACT
    assert max(bias for _, bias, _ in convex) < EXACT
    assert max(bias for _, bias, _ in two_sequences("sv-lossless:k={k}", widths=(4,))) < EXACT


@pytest.mark.parametrize(("method", "least"), [("sv-lossless", None), ("sv", 0.02)])
def test_a_budget_known_beforehand_is_lossless_with_causal_scores(method, least):
    biases = []
    for size, repeat in product(TWO_SEQUENCES, range(3)):
        rng = rng_of("budget", size, repeat)
        pair = [TinyModels.random(rng, *size) for _ in range(2)]
        plan = Plan(f"{method}:k={size[1]}", pair)
        mine, other = (survival_of(plan.method, models) for models in pair)
        pairs = [greedy_budget([a, b], size[1]) for a in mine for b in other]
        biases.append(joint_bias(*pair, np.array(pairs).reshape(len(mine), len(other), 2)))
    assert max(biases) < EXACT if least is None else np.mean(biases) > least


def test_the_law_of_a_rule_that_looks_at_the_token():
    """P(v) - p(v) = k(v) min(p, q)(v) + r (p - q)+(v) - kbar p(v), for any keep decision k(v)."""
    for vocabulary, repeat in product((2, 3, 4), range(20)):
        rng = rng_of("formula", vocabulary, repeat)
        models = TinyModels.random(rng, vocabulary, 1)
        p, q = models.p[0], models.q[0]
        keep = rng.integers(0, 2, vocabulary)
        rejected = np.maximum(q - p, 0.0)
        kept_rejections = keep @ rejected / rejected.sum()
        difference = keep * np.minimum(p, q) + kept_rejections * np.maximum(p - q, 0.0) - (keep @ q) * p
        law = models.draft_law @ models.text_given[np.arange(vocabulary), keep]
        first_token = law.reshape(vocabulary, vocabulary).sum(axis=1)
        np.testing.assert_allclose(first_token - p, difference, atol=EXACT)
        assert models.bias(keep) == pytest.approx(0.5 * np.abs(difference).sum(), abs=EXACT)
