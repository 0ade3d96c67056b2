"""Columns of trees: drawn, checked, stored and read again."""

from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import independent_trace

from svsim.decoding.trees import StaticTree, hits_of, ranks_ahead
from svsim.errors import InputError, TraceError
from svsim.synthetic.method_columns import with_columns
from svsim.trace.file import load_trace, save_trace
from svsim.trace.metadata import decode_metadata, encode_metadata
from svsim.trace.validation import check_trace

NAMES = {"path_rank", "path_logprob", "top_logprob", "tree_rank", "child_index", "accept_given_token"}


@pytest.fixture(scope="module")
def plain():
    return independent_trace(300, 4, seed=6, greedy=True, output_tokens=(40, 90))


@pytest.fixture(scope="module")
def made(plain):
    return with_columns(plain, ["paths:rank=.5,spread=.7,children=6,beam=5,depth=4,siblings=3"], 0)


def test_drawn_as_asked_and_called_synthetic(made):
    trace, checks = made
    assert set(trace.target.outcomes) == NAMES and all(check.is_met for check in checks)
    assert trace.metadata.extra["synthetic_columns"][-1].startswith("paths:")
    assert trace.metadata.trees == {
        "depths": 1, "children": 6, "beam": 5, "levels": 5, "siblings": 3, "rule": "synthetic",
    }  # fmt: skip
    top = trace.target.outcomes["top_logprob"]
    assert (np.diff(top, axis=1) <= 0).all() and (np.exp(top.astype(np.float64)).sum(axis=1) < 1.001).all()


def test_a_chain_and_a_tree_of_one_path_are_right_at_the_same_rows(made):
    trace = made[0]
    rank = ranks_ahead(trace.target.outcomes["path_rank"], 1)
    chain = StaticTree.of([(1,)]).accepted(rank)
    assert np.array_equal(chain, trace.target.num_accepted > 0)
    misses = trace.target.outcomes["path_rank"][chain == 0]
    assert (misses == 2).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(misses)))


def test_confidence_follows_what_is_right_less_with_more_spread(plain):
    def agreement(spread):
        outcomes = with_columns(plain, [f"paths:spread={spread}"], 0)[0].target.outcomes
        return np.corrcoef(outcomes["top_logprob"][:, 0], outcomes["path_rank"][:, 0] == 1)[0, 1]

    assert agreement(0) > agreement(2) > agreement(8) > 0


def test_siblings_are_nested(made):
    outcomes = made[0].target.outcomes
    assert (np.diff(outcomes["accept_given_token"], axis=1) >= 0).all()
    index = outcomes["child_index"][:, 0]
    assert index.max() == 3 and np.array_equal(index == 1, outcomes["path_rank"][:, 0] == 1)


def test_stored_and_read_again(made, tmp_path):
    trace = made[0]
    check_trace(trace, "trace")
    save_trace(trace, tmp_path / "t.parquet")
    again = load_trace(tmp_path / "t.parquet")
    assert again.metadata.trees == trace.metadata.trees
    for name in NAMES:
        exact = name in ("path_rank", "tree_rank", "child_index", "top_logprob")
        np.testing.assert_allclose(
            again.target.outcomes[name],
            trace.target.outcomes[name],
            rtol=0 if exact else 1e-3,
            atol=1e-3 * (not exact),
        )
    assert hits_of(again.target.outcomes["tree_rank"], 20).mean() > 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("path_rank", -1.0), ("path_rank", 1e6), ("path_logprob", 0.5), ("top_logprob", np.nan),
     ("child_index", 300.0), ("accept_given_token", 1.5)],
)  # fmt: skip
def test_values_outside_their_domain_are_refused(made, name, value):
    trace = made[0]
    column = trace.target.outcomes[name].copy()
    column[7, 0] = value
    target = replace(trace.target, outcomes={**trace.target.outcomes, name: column})
    with pytest.raises(TraceError, match=name):
        check_trace(replace(trace, target=target), "trace")


@pytest.mark.parametrize(
    "trees", [{"depths": 0}, {"children": 1000}, {"depths": "1"}, {"rows": 3}, {"rule": 1}, {"beam": 4.0}]
)
def test_metadata_of_trees_are_whole_numbers_in_range(made, trees):
    about = replace(made[0].metadata, trees=trees)
    with pytest.raises(TraceError, match="trees"):
        encode_metadata(about, "file")
    right = encode_metadata(made[0].metadata, "file")
    assert decode_metadata(right, "file").trees == made[0].metadata.trees


def test_columns_without_their_metadata_are_refused(made):
    trace = made[0]
    with pytest.raises(TraceError, match=r"accept_given_token|child_index|path"):
        check_trace(replace(trace, metadata=replace(trace.metadata, trees=None)), "trace")


@pytest.mark.parametrize(
    "text", ["paths:rank=0", "paths:children=0", "paths:beam=20", "paths:depth=2.5", "paths:width=3"]
)
def test_options_out_of_range_are_refused(plain, text):
    with pytest.raises(InputError, match="paths"):
        with_columns(plain, [text], 0)
