"""``joint`` keeps the target's law: exact sums on tiny models, for one text, for two, and step after step.

The real rule is asked pass by pass and shown what a server would have seen. The negative control is the same
rule, shown q(x) of a head in the place of its law.
"""

from functools import cache
from itertools import product

import numpy as np
import pytest
from support.tiny_models import TinyModels, joint_bias
from support.tiny_plans import made_up_tokens
from support.tiny_recordings import distance, replayed, served

from svsim.decoding.joint_belief import GROUP_SHIFT, OffsetBelief
from svsim.decoding.joint_rule import plan_jointly
from svsim.decoding.method import Losslessness
from svsim.decoding.pass_rules import (
    ADMIT,
    BELIEVED_VERIFY_S,
    COMMIT,
    DRAFT,
    FIRST_S,
    FIXED_S,
    HIDDEN,
    LEARN,
    VERIFY_S,
    new_view,
)
from svsim.decoding.presets import parse_method

EXACT = 1e-12
ONE = [(v, k) for v, k in product((2, 3, 4), (1, 2, 3)) if v**k <= 32]
TWO = [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (4, 1)]


def rng_of(*key):
    return np.random.default_rng([len(str(key)), *map(ord, str(key))])


@cache
def belief():
    """Acceptance that falls with the entropy and rises with q(x), learnt on made-up tokens."""
    tokens = made_up_tokens()
    signals = tuple(tokens[name] for name in OffsetBelief.signals)
    fitted = OffsetBelief().fit(signals, tokens["accept_prob"])
    chains = tuple(s.reshape(-1, 2) for s in signals)
    accepted = (np.random.default_rng(0).random((10_000, 2)) < tokens["accept_prob"].reshape(-1, 2)).T
    num_accepted = accepted[0].astype(np.uint8) + (accepted[0] & accepted[1])
    fitted.fit_chains(chains, num_accepted, np.arange(0, 10_001, 50))
    return fitted


class Asked:
    """The rule on some sequences at given prices, with a past. ``peeks``: it is shown tokens as if laws.

    codes(models): [N, K] of laws and of tokens, for every draft.
    """

    def __init__(self, rng, num_sequences, k, midstop=True, peeks=False, slope=0.3):
        self.n, self.k, self.peeks = num_sequences, k, peeks
        self.options = np.array([float(midstop), *belief().constants])
        self.view, draws = new_view(num_sequences, k, num_sequences), rng.random(4)
        width = int(rng.integers(1, 4))
        tokens = np.arange(num_sequences * k + 1)
        self.view.verify_s[:] = 1.0 + slope * width * -(-tokens // width)
        self.view.draft_s[1:] = 0.002 * 30 ** draws[0] * draws[1] + 0.01 * draws[2] * np.arange(num_sequences)
        self.view.news[FIXED_S] = 0.3 * draws[3]
        self.view.news[FIRST_S] = 1.1 * self.view.draft_s[num_sequences]
        self.view.news[VERIFY_S] = self.view.news[BELIEVED_VERIFY_S] = 1.0

    def codes(self, models):
        law, token = belief().codes(tuple(models.signals[name] for name in OffsetBelief.signals))
        return (token | law & ~np.uint16((1 << GROUP_SHIFT) - 1) if self.peeks else law), token

    def ask(self, stage, depth=0):
        return plan_jointly(stage, depth, self.n, self.view, self.options)

    def lengths(self, laws, tokens):
        """Verification lengths [n] for the codes of one draft per sequence, [n][K] each."""
        view = self.view
        view.law[:], view.token[:], view.drafted[:], view.length[:] = HIDDEN, HIDDEN, 0, 0
        depth = 0
        for depth in range(self.k):
            if self.ask(DRAFT, depth) == 0:
                break
            for i in np.flatnonzero(view.chosen & (view.length == depth) & (view.drafted == depth)):
                view.drafted[i], view.law[i, depth] = depth + 1, laws[i][depth]
            if depth + 1 == self.k or self.ask(COMMIT, depth) == 0 or self.settle(tokens) == 0:
                break
        self.ask(ADMIT, depth)
        self.settle(tokens)
        return view.length.copy()

    def settle(self, tokens):
        chosen = np.flatnonzero(self.view.chosen & (self.view.drafted == self.view.length + 1))
        for i in chosen:
            self.view.token[i, self.view.length[i]] = tokens[i][self.view.length[i]]
            self.view.length[i] += 1
        return len(chosen)

    def learn(self, kept):
        self.view.kept[:] = kept
        self.ask(LEARN)

    def live(self, models, rng, num_steps=12):
        """A past of random drafts and outcomes: the sequences have become different."""
        codes = [self.codes(m) for m in models]
        for _ in range(num_steps):
            drawn = [rng.choice(len(m.drafts), p=m.draft_law) for m in models]
            lengths = self.lengths(
                *zip(*((c[0][x], c[1][x]) for c, x in zip(codes, drawn, strict=True)), strict=True)
            )
            self.learn([rng.integers(0, length + 1) for length in lengths])
        return self

    @property
    def memory(self):
        return np.concatenate([self.view.memory, self.view.seats.ravel()])

    @memory.setter
    def memory(self, kept):
        size = self.view.memory.size
        self.view.memory[:], self.view.seats[:] = kept[:size], kept[size:].reshape(self.view.seats.shape)


def of_all(asked, models):
    """Lengths for every draft of one sequence [N], or every pair of two [N1, N2, 2]."""
    codes, memory = [asked.codes(m) for m in models], asked.memory
    found = []
    for drawn in product(*(range(len(m.drafts)) for m in models)):
        asked.memory = memory
        rows = [(c[0][x], c[1][x]) for c, x in zip(codes, drawn, strict=True)]
        found.append(asked.lengths(*zip(*rows, strict=True)))
    return np.array(found).reshape(*(len(m.drafts) for m in models), len(models))


def cases(sizes, num_sequences, repeats, **kind):
    """(models, lengths of every draft) at prices where something is left to choose, if any are found."""
    for size, repeat in product(sizes, range(repeats)):
        rng = rng_of("joint", num_sequences, size, repeat)
        models = [TinyModels.random(rng, *size) for _ in range(num_sequences)]
        for slope in rng.permutation(np.geomspace(0.05, 1.5, 16)):
            asked = Asked(rng, num_sequences, size[1], slope=slope, **kind).live(models, rng)
            lengths = of_all(asked, models)
            if (lengths != lengths.reshape(-1, num_sequences)[0]).any():
                break
        yield models, lengths


def biases(num_sequences, repeats, **kind):
    """(bias, share of models of K > 1 whose lengths hang on the draft)."""
    found, deciding = [], []
    for models, lengths in cases(ONE if num_sequences == 1 else TWO, num_sequences, repeats, **kind):
        found.append(models[0].bias(lengths[..., 0]) if num_sequences == 1 else joint_bias(*models, lengths))
        if models[0].k > 1:
            deciding.append((lengths != lengths.reshape(-1, num_sequences)[0]).any())
    return found, np.mean(deciding)


@pytest.mark.parametrize("midstop", [True, False])
@pytest.mark.parametrize("num_sequences", [1, 2])
def test_the_text_keeps_the_targets_law(num_sequences, midstop):
    assert parse_method("joint", 4).lossless is Losslessness.LOSSLESS
    found, deciding = biases(num_sequences, 8, midstop=midstop)
    assert max(found) < EXACT
    assert deciding > (0.25 if num_sequences == 1 else 0.5), "lengths never hang on the draft: an empty test"


@pytest.mark.parametrize("num_sequences", [1, 2])
def test_a_rule_that_reads_the_token_early_does_not(num_sequences):
    """The negative control."""
    found, _ = biases(num_sequences, 4, peeks=True)
    assert np.mean(found) > 0.003 and max(found) > 0.02


def replay_error(repeat, peeks=False):
    """Distance between a server that drafts anew and the replay of a recording, memories moving on."""
    rng = rng_of("joint recording", repeat)
    models = TinyModels.random(rng, 2, 2, horizon=7)
    asked = Asked(rng, 1, 2, peeks=peeks).live([models], rng)
    start = asked.memory
    codes = cache(lambda text: asked.codes(models.after(text)))
    seen = set()

    def planned(text, x, memory):
        law, token = codes(text)
        row = x[0] * 2 + x[1]
        asked.memory = memory
        lengths = asked.lengths([law[row]], [token[row]])
        seen.add(int(lengths[0]))
        decided, shown = asked.memory, asked.view.token.copy()

        def told(accepted):
            asked.memory = decided
            asked.view.length[:], asked.view.token[:] = lengths, shown
            asked.learn([accepted])
            return asked.memory

        return int(lengths[0]), told

    server, replay = (way(models, planned, start, 4) for way in (served, replayed))
    return distance(server, replay), seen


def test_a_recording_of_coherent_chains_shows_what_a_server_would_do():
    """What is remembered comes from verified tokens alone, so the replay is exact."""
    errors, lengths = zip(*(replay_error(repeat) for repeat in range(4)), strict=True)
    assert len(set().union(*lengths)) > 1
    assert max(errors) < EXACT
    peeking, _ = zip(*(replay_error(repeat, peeks=True) for repeat in range(4)), strict=True)
    assert max(peeking) > 1e-3, "the negative control"
