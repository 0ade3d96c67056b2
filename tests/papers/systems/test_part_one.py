"""Drafters, pipelines, lossy and early-exit systems: verdict counts, tolerances, the arithmetic by hand."""

import pytest

from svsim.errors import InputError
from svsim.papers.reproduction import reproduce_systems
from svsim.papers.rows import Role, Verdict
from svsim.papers.systems import dovetail, kangaroo, magicdec, vocabtrim

# confirmed, not confirmed, calibrated
VERDICTS = {
    "leviathan": (16, 0, 0),
    "chen": (2, 1, 0),
    "pearl": (12, 0, 6),
    "kangaroo": (0, 0, 0),
    "vocabtrim": (2, 0, 1),
    "magicdec": (1, 3, 10),
    "easyspec": (0, 0, 0),
    "diffuspec": (6, 0, 3),
    "del": (0, 0, 0),
    "dovetail": (0, 0, 0),
    "judge": (0, 0, 1),
    "reflect": (0, 0, 0),
    "ead": (1, 0, 0),
}


def test_what_contradicts_a_paper_is_said_with_its_arithmetic():
    found = {s.system.name: " ".join(s.objections) for s in reproduce_systems(None, {}).systems}
    assert {name for name, words in found.items() if words} == {
        *("chen", "magicdec", "vocabtrim", "ead", "exegpt", "ralmspec"),
    }
    assert "1.875" in found["chen"] and "7" in found["vocabtrim"] and "131" in found["exegpt"]


def rows_of(name, **parts):
    rows = reproduce_systems(name, {}).rows
    return [row for row in rows if all(getattr(row, part) == value for part, value in parts.items())]


def asked(name, **parameters):
    return reproduce_systems(name, parameters).rows[0].predicted


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts_as_counted(name):
    score = reproduce_systems(name, {}).systems[0].score
    assert (score.confirmed, score.not_confirmed, score.num_calibrated) == VERDICTS[name]


def test_kangaroo_by_hand():
    (tokens,) = rows_of("kangaroo", metric="tokens per round")
    assert tokens.predicted == pytest.approx(1 + 0.51 + 0.22 + 0.10 + 0.045 + 0.02 + 0.007)
    # Vicuna-7B: 32 layers of 202.4 M, a head of 131.1 M, an adapter of 67 M
    layer, head, adapter = 202.383, 131.072, 67.0
    drafting = 3 * 2 * layer + 2 * (adapter + head)
    round_ = (drafting + 30 * layer + head) / (32 * layer + head)
    assert asked("kangaroo", drafted=2) == pytest.approx(1.902 / round_, rel=1e-4)
    with pytest.raises(InputError, match="at most d \\+ 1"):
        reproduce_systems("kangaroo", {"drafted": 2, "tokens": 3.5})


def test_kangaroo_gains_less_the_more_it_drafts_for_the_same_tokens():
    found = [kangaroo.speedup(1.902, drafts, 2) for drafts in (1.0, 1.5, 2.0, 3.0)]
    assert found == sorted(found, reverse=True)


def test_vocabtrim_by_hand_and_on_its_tolerance():
    draft = 394 * 65536 / 128256 + 394 + 119
    rows = rows_of("vocabtrim", metric="MBSU", role=Role.PREDICTED)
    assert rows[0].predicted == pytest.approx(3.54 / (1 + 4 * draft / 3213), rel=1e-9)
    assert all(abs(row.error) <= 0.03 for row in rows)
    assert vocabtrim.weights_ratio(128256) == pytest.approx(907 / 3213)
    assert asked("vocabtrim", rows=32768, tau=3.0) < asked("vocabtrim", rows=32768, tau=3.1)


def test_magicdec_ends_come_back_and_the_gain_grows_with_the_batch():
    for row in rows_of("magicdec", role=Role.CALIBRATED):
        assert row.predicted == pytest.approx(row.published, rel=1e-9)
    found = [asked("magicdec", batch=batch, gamma=3) for batch in (8, 32, 64, 128, 256)]
    assert found == sorted(found)
    costs = magicdec.calibrated(
        [{"batch": 32, "gamma": 3, "speedup": 1.22}, {"batch": 128, "gamma": 4, "speedup": 1.47}], 0.82
    )
    assert (costs.per_sequence, costs.excess) == (
        pytest.approx(14.564, abs=1e-3),
        pytest.approx(0.27, abs=1e-3),
    )


def test_magicdec_refuses_an_acceptance_that_its_rows_rule_out():
    with pytest.raises(InputError, match=r"`alpha` 0\.3 gives 1\.43 tokens .* too few for the 1\.47x"):
        reproduce_systems("magicdec", {"batch": 64, "alpha": 0.3})


def test_magicdec_bytes_alone_are_far_off_and_not_judged():
    rows = rows_of("magicdec", metric="speedup from bytes alone")
    assert all(row.error > 0.8 and row.verdict is Verdict.NOT_TESTABLE for row in rows)


def test_easyspec_needs_half_of_a_pass():
    (share,) = rows_of("easyspec", metric="attention's share of a pass, at least")
    assert share.predicted == pytest.approx((1 - 1 / 1.62) / 0.75)
    assert asked("easyspec", attention_share=share.predicted) == pytest.approx(1.62)


def test_diffuspec_by_hand_and_on_its_tolerance():
    rows = rows_of("diffuspec", role=Role.PREDICTED)
    ratio = rows[0]
    assert ratio.predicted == pytest.approx((6.99 / 3.76) / (6.18 / 6.12))
    assert abs(ratio.error) <= 0.01
    judged = [row for row in rows[1:] if row.is_judged]
    assert len(judged) == 5 and all(abs(row.error) <= 0.07 for row in judged)
    u, v = 5.53 / 2.74, (6.69 / 2.78 - 5.53 / 2.74) / 90
    assert asked("diffuspec", k=40, mat=6.5) == pytest.approx(6.5 / (u + 30 * v))
    extra = (7.33 / 0.93 - 6.99 / 3.08) / 9
    assert extra == pytest.approx(0.6236, abs=1e-4)
    assert asked("diffuspec", k=10, mat=6.0, passes=3) == pytest.approx(6.0 / (u + 2 * extra))


def test_del_needs_more_acceptance_for_more_speed():
    needed = [row.predicted for row in rows_of("del", metric="acceptance needed")]
    assert needed == sorted(needed) and 0.9 < needed[0] < needed[-1] < 1
    speedup, length = reproduce_systems("del", {"alpha": 0.9, "exit": 8, "layers": 32}).rows
    others = [32 * sum(0.9**i for i in range(d + 1)) / (8 * d + 32) for d in range(30)]
    assert speedup.predicted == pytest.approx(max(others)) and length.predicted == others.index(max(others))
    with pytest.raises(InputError, match="`exit`"):
        reproduce_systems("del", {"alpha": 0.9, "exit": 40})


def test_dovetails_best_tree_shrinks_as_a_node_grows_dearer():
    sizes = [row.predicted for row in rows_of("dovetail", metric="best tree")]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == dovetail.MOST_NODES and sizes[-1] <= 4


def test_judge_sets_its_one_share_and_no_verdict():
    (row,) = rows_of("judge", role=Role.CALIBRATED)
    assert row.predicted == pytest.approx(19.7)
    assert asked("judge", share=0.0) == pytest.approx(6.3)
    assert asked("judge", share=1.0) == pytest.approx(25)
    _, round_, step = reproduce_systems("judge", {"share": 0.0, "speedup": 4, "tok_s": 100}).rows
    assert (round_.predicted, step.predicted) == (pytest.approx(7.3 / 4), pytest.approx(40))
    with pytest.raises(InputError, match="`accepted`"):
        reproduce_systems("judge", {"share": 0.5, "k": 5})


def test_reflection_is_nearly_free_alone_and_dear_in_a_batch():
    ratios = [row.predicted for row in rows_of("reflect", metric="verification over an ordinary one")]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1.15 and ratios[-1] > 2
    assert asked("reflect", batch=1, prompt=0, suffix=0) < asked("reflect", batch=1)


def test_ead_counts_parameters():
    (row,) = rows_of("ead", metric="cost of a token, parameters")
    assert row.predicted == pytest.approx(0.43 + 0.57 * 3 / 11)
    ideal, real = (row for row in rows_of("ead") if "seconds" in row.metric)
    assert row.predicted < ideal.predicted < real.predicted < 1
    assert asked("ead", share=0.5, large=10, small=5) == pytest.approx(0.75)


def test_the_best_tree_is_sequoias_recursion():
    """T[m][l][b] of the repository's dynamic programme, written as it stands there."""
    from functools import cache

    from svsim.closed_forms import best_tree_tokens

    chances = [0.634, 0.108, 0.057, 0.022]

    @cache
    def tree(m, levels):  # expected tokens of m nodes, root among them
        return 1.0 if m == 1 else max(children(m, levels, b) for b in range(1, min(m, 5)))

    @cache
    def children(m, levels, b):
        if levels == 0 or m < b + 1:
            return 1.0 if m == 1 else float("-inf")
        if b == 1:
            return 1.0 + chances[0] * tree(m - 1, levels - 1)
        return max(children(y, levels, b - 1) + chances[b - 1] * tree(m - y, levels - 1) for y in range(b, m))

    for depth in (1, 2, 4):
        for nodes in (1, 3, 7, 12):
            best = max((tree(m, depth) for m in range(1, nodes + 2)), default=1.0)
            assert best_tree_tokens(chances, nodes, depth) == pytest.approx(best, rel=1e-12)
