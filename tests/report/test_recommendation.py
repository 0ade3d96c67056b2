"""What the rows say in words: settled or not, and what a bound is."""

from dataclasses import replace

import pytest
from support.result_tables import crowded, one_machine

from svsim.metrics.verdict import verdicts
from svsim.report.heat_map import best_cells
from svsim.report.recommendation import best_by_batch_size, caveats, findings, recommend


def with_intervals(table, intervals):
    """The table at its first batch size with other speedups: label -> low and high over td, over sd."""

    def changed(row):
        (td_low, td_high), (sd_low, sd_high) = intervals[row.label]
        return replace(
            row,
            lossless=True,
            speedup_vs_td_ci_low=td_low,
            speedup_vs_td_ci_high=td_high,
            speedup_vs_sd_ci_low=sd_low,
            speedup_vs_sd_ci_high=sd_high,
            goodput_tok_s=100 * (sd_low + sd_high),
        )

    rows = (changed(r) for r in table.rows if r.label in intervals and r.batch_size == 1)
    return replace(table, rows=tuple(rows))


TD = ((1.0, 1.0), (0.5, 0.5))
SD3 = ((1.7, 1.9), (0.85, 0.95))
SD5 = ((1.8, 2.2), (1.0, 1.0))


@pytest.mark.parametrize(
    ("sv", "settled"),
    [
        (((2.1, 2.4), (1.05, 1.2)), True),
        (((2.0, 2.4), (0.99, 1.2)), False),  # perhaps the best fixed length is faster
        (((0.9, 2.6), (1.05, 1.3)), False),  # perhaps no speculation is
    ],
)
def test_settled_means_apart_from_both_baselines(sv, settled):
    table = with_intervals(one_machine(), {"td": TD, "sd:k=3": SD3, "sd:k=5": SD5, "sv:k=7": sv})
    ((best, is_clear),) = best_by_batch_size(table, "first")
    assert (best.label, is_clear) == ("sv:k=7", settled)


@pytest.mark.parametrize(("high", "settled"), [(1.04, True), (1.06, False)])
def test_settled_means_apart_from_other_adaptive_methods(high, settled):
    other = next(r.label for r in crowded().rows if r.method == "method-0")
    intervals = {
        "td": TD,
        "sd:k=5": SD5,
        "sv:k=7": ((2.1, 2.4), (1.05, 1.2)),
        other: ((1.9, 2.1), (0.98, high)),
    }
    ((best, is_clear),) = best_by_batch_size(with_intervals(crowded(), intervals), "first")
    assert (best.label, is_clear) == ("sv:k=7", settled)


def test_a_lossy_method_is_told_apart_and_never_the_fastest():
    sv = ((2.1, 2.4), (1.05, 1.2))
    table = with_intervals(one_machine(), {"td": TD, "sd:k=3": SD3, "sd:k=5": SD5, "sv:k=7": sv})
    assert "batch 1: sv:k=7 is fastest (" in findings(table)[0]
    lossy = replace(table, rows=tuple(replace(r, lossless=r.method != "sv") for r in table.rows))
    words = findings(lossy)
    assert "batch 1: sd:k=5 is fastest of the lossless methods (" in words[0]
    assert words[1].startswith("first: faster, but not lossless: sv:k=7 at batch 1 (")
    assert "lossless speculation still pays" in words[2]
    assert all(v.lossless and v.method.startswith("sd") for v in verdicts(lossy.rows))
    assert [cell.row.label for line in best_cells(lossy) for cell in line] == ["sd:k=5"]


def test_where_only_lossy_methods_speculate_the_words_say_so():
    table = with_intervals(one_machine(), {"td": TD, "sv:k=7": ((2.1, 2.4), (1.05, 1.2))})
    lossy = [replace(r, lossless=r.method == "td", price_error=0.05) for r in table.rows]
    words = findings(replace(table, rows=tuple(lossy)))
    assert "target-only decoding is fastest of the lossless methods" in words[0]
    assert "faster than target-only decoding" in words[2] and "not lossless: sv:k=7" in words[2]
    assert not any("speculate (" in sentence for sentence in words)


def test_bounds_are_explained_and_never_the_fastest():
    table = one_machine()
    rows = [replace(r, oracle_gain_share=min(r.oracle_gain_share, 1)) for r in table.rows]
    table = replace(table, rows=tuple(rows))
    assert all(not row.is_bound for row, _ in best_by_batch_size(table, "first"))
    words = " ".join(recommend(table))
    assert "The bound is the fastest of the run (oracle:k=7): it knows what the target will accept" in words
    assert "of the bound's gain" in findings(table)[0]
    assert "More than 100 %" not in words
    bare = replace(
        table, rows=tuple(replace(r, oracle_gain_share=None, oracle_bound=None) for r in table.rows)
    )
    assert "bound" not in " ".join(recommend(bare))


def test_a_share_above_one_is_explained():
    table = one_machine()
    rows = [replace(r, oracle_gain_share=1.2 if r.label == "sd:k=3" else 0.5) for r in table.rows]
    words = " ".join(caveats(replace(table, rows=tuple(rows))))
    assert "More than 100 % of it is no error (sd:k=3 at batch 1, 4, 16)" in words
    assert "; --method oracle:draft=exact drafts less." in words
    rows = [replace(r, oracle_bound="oracle:k=7,draft=exact") for r in rows]
    assert "--method" not in " ".join(caveats(replace(table, rows=tuple(rows))))


def test_many_methods_are_counted_not_listed():
    assert "What sv gains or loses rests on that synthetic acceptance" in " ".join(caveats(one_machine()))
    assert "What the 16 methods beside td and sd gain or lose rests" in " ".join(caveats(crowded()))


@pytest.mark.parametrize(
    ("td_low", "words"), [(1.01, "still pays at batch"), (0.99, "neither clearly pays nor loses at batch")]
)
def test_speculation_pays_only_if_the_interval_says_so(td_low, words):
    sv = ((td_low, 1.4), (1.05, 1.2))
    table = with_intervals(one_machine(), {"td": TD, "sd:k=5": ((0.9, 1.2), (1.0, 1.0)), "sv:k=7": sv})
    assert words in " ".join(findings(table))
