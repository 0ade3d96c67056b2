"""Who writes which token: a literal reading of the rule, one token after another, and the gaps."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.small_traces import independent_trace, with_draft_signals

from svsim.decoding.switching import CatchUp, EntropySwitching, Start, gaps
from svsim.errors import InputError, MethodError
from svsim.synthetic.method_columns import with_columns
from svsim.trace.token_trace import ObservableColumns

FIRST = np.array([0, 90, 91, 400])


def literally(
    target: np.ndarray,
    draft: np.ndarray,
    first: np.ndarray,
    window: int,
    dwell: int,
    tau: float,
    starts: bool,
) -> list[bool]:
    """Entropies of the model at work are noted in bits; after ``dwell`` tokens their mean is looked at."""
    written: list[bool] = []
    for begin, end in pairwise(first):
        large, stays, noted = starts, 0, []
        for t in range(begin, end):
            written.append(large)
            noted.append((target[t] if large else draft[t]) / math.log(2))
            stays += 1
            recent = noted[-window:]
            mean = sum(recent) / len(recent)
            if stays >= dwell and mean != tau and (mean > tau) != large:
                large, stays = not large, 0
    return written


def entropies(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    walk = np.abs(np.cumsum(rng.normal(0, 0.2, FIRST[-1])))
    return (walk * rng.random(FIRST[-1])).astype(np.float32), (walk + 0.1).astype(np.float32)


@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize(("window", "dwell", "tau"), [(5, 10, 1.0), (1, 1, 0.8), (20, 3, 1.5), (5, 10, 0.0)])
def test_the_rule_as_it_reads(window: int, dwell: int, tau: float, start: Start) -> None:
    rule = EntropySwitching(window, dwell, tau, start=start)
    for seed in range(4):
        target, draft = entropies(seed)
        expected = literally(target, draft, FIRST, window, dwell, tau, start is Start.LARGE)
        assert rule.large_at_work(target, draft, FIRST).tolist() == expected


def test_a_dwell_is_kept_and_every_request_begins_anew() -> None:
    target, draft = entropies(1)
    large = EntropySwitching(dwell=7, threshold_bits=0.7).large_at_work(target, draft, FIRST)
    assert large[FIRST[:-1]].all()
    for begin, end in pairwise(FIRST):
        changes = np.flatnonzero(np.diff(large[begin:end]))
        assert (np.diff(np.concatenate([[-1], changes])) >= 7).all()
    assert 0 < large.mean() < 1


def test_gaps_are_what_the_other_model_wrote() -> None:
    large = np.array([1, 1, 1, 0, 0, 1, 0, 0, 1, 1], bool)
    first = np.array([0, 7, 10])  # the second request begins with the small model at row 7
    assert gaps(large, first).tolist() == [0, 0, 0, 3, 0, 2, 1, 0, 1, 0]
    assert gaps(np.zeros(0, bool), np.array([0])).tolist() == []
    turns = EntropySwitching().turns(large, first)
    assert turns.tolist() == [1, 1, 1, -4, -1, 3, -2, -1, 2, 1]
    ideal = EntropySwitching(catch_up=CatchUp.IDEAL).turns(large, first)
    assert ideal.tolist() == [1, 1, 1, -1, -1, 1, -1, -1, 1, 1]
    assert not EntropySwitching(catch_up=CatchUp.BOTH).turns(large, first).any()


def test_every_token_that_a_model_reads_was_written_once() -> None:
    """All that a model at work has read is the text: its own tokens and the gaps."""
    target, draft = entropies(2)
    rule = EntropySwitching(threshold_bits=0.9)
    large = rule.large_at_work(target, draft, FIRST)
    turns = rule.turns(large, FIRST)
    for begin, end in pairwise(FIRST):
        for at_work in (True, False):
            mine = np.flatnonzero(large[begin:end] == at_work)
            if len(mine):
                read = np.abs(turns[begin:end][mine]).sum()
                assert (
                    read == mine[-1] + 1
                )  # everything up to its last token, the prompt's last one for the first


def test_absurd_options() -> None:
    for words, says in (({"window": 0}, "w=0"), ({"dwell": 0}, "dwell=0")):
        with pytest.raises(MethodError, match=says):
            EntropySwitching(**words)


def test_a_synthetic_target_entropy_has_its_mean_and_follows_the_drafts() -> None:
    trace = with_draft_signals(independent_trace(40, 3, seed=2))
    made, (check,) = with_columns(trace, ["entropy:nats=0.5"], 0)
    entropy, draft = made.target.outcomes["target_entropy"], trace.observable.signals["draft_entropy"]
    assert check.is_met and entropy[:, 0].mean() == pytest.approx(0.5, rel=1e-4)
    assert np.corrcoef(entropy[:, 0], draft[:, 0])[0, 1] > 0.5
    assert made.metadata.extra["synthetic_columns"] == ["entropy:nats=0.5"]
    bare = replace(trace, observable=ObservableColumns({}))
    with pytest.raises(InputError, match="follows the draft's entropy, which this trace lacks"):
        with_columns(bare, ["entropy:nats=0.5"], 0)
