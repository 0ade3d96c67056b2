"""Trees and sibling drafts: verdict counts, closed forms against linear programmes and Monte Carlo."""

import numpy as np
import pytest

from svsim.multi_draft_laws import RULES
from svsim.papers.reproduction import reproduce_systems
from svsim.papers.rows import Role, Verdict
from svsim.papers.systems.multi import best_by_programme, tuples_with, tuples_without

# confirmed, not confirmed, calibrated
VERDICTS = {
    "eagle2": (3, 0, 0),
    "eagle3": (2, 0, 0),
    "medusa": (0, 0, 0),
    "sequoia": (8, 0, 0),
    "multi": (0, 0, 0),
    "stree": (2, 0, 4),
    "longspec": (5, 0, 2),
    "rasd": (0, 0, 0),
}
P, Q = (0.5, 0.3, 0.15, 0.05), (0.2, 0.5, 0.1, 0.2)


def random_cases(number, num_tokens, seed=1):
    generator = np.random.default_rng(seed)
    for _ in range(number):
        p, q = generator.dirichlet(np.ones(num_tokens), 2)
        yield p.tolist(), q.tolist()


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts_as_counted(name):
    score = reproduce_systems(name, {}).systems[0].score
    assert (score.confirmed, score.not_confirmed, score.num_calibrated) == VERDICTS[name]


def test_a_round_of_eagle_by_hand():
    rows = reproduce_systems("eagle2", {}).rows
    # Vicuna-7B: 6 passes of a layer of 202.4 M and a head of 131.1 M, of 6,738 M
    assert rows[0].predicted == pytest.approx(6 * (202.383 + 131.072) / 6738.4 + 1.05, rel=1e-4)
    assert rows[0].published == pytest.approx(4.98 / 3.62)
    excepted = next(row for row in rows if "Llama-3.1-8B" in row.setting)
    assert excepted.error > 0.2 and excepted.verdict is Verdict.NOT_TESTABLE
    assert all(abs(row.error) <= 0.15 for row in rows if row.is_judged)


def test_the_heads_of_eagle_3_are_trimmed():
    asked = {"model": "llama-3.3-70b", "tau": 5.0, "depth": 7}
    full, trimmed = (reproduce_systems(name, asked).rows for name in ("eagle2", "eagle3"))
    assert trimmed[0].predicted < full[0].predicted
    assert trimmed[1].predicted == pytest.approx(5.0 / trimmed[0].predicted)


def test_stree_predicts_another_benchmark():
    rows = [row for row in reproduce_systems("stree", {}).rows if row.role is Role.PREDICTED]
    assert rows[-1].predicted == pytest.approx(2.324 / (2.037 / 67.68))
    assert all(abs(row.error) <= 0.01 for row in rows)
    (chain,) = reproduce_systems("stree", {"tau": 2.037, "shape": "chain", "temperature": 0}).rows
    assert chain.predicted == pytest.approx(67.68)


def test_longspec_takes_the_round_of_its_size():
    found = [reproduce_systems("longspec", {"tau": 4.0, "size": size}).rows[0] for size in ("7b", "13b")]
    assert found[0].predicted == pytest.approx(4.0 * 102.23 / 3.57)
    assert found[1].predicted == pytest.approx(4.0 * 71.08 / 3.31)


@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        ("rrs", 0.755), ("kseq", 0.788098), ("bound", 0.86), ("rrs-wo", 0.814821), ("bound-wo", 0.972222),
        ("greedy", 0.9),
    ],
)  # fmt: skip
def test_the_unit_case(rule, accepted):
    assert RULES[rule](P, Q, 2) == pytest.approx(accepted, abs=1e-6)
    assert RULES[rule](P, Q, 1) == pytest.approx(0.65)
    assert RULES[rule](P, P, 2) == pytest.approx(1.0)


@pytest.mark.parametrize(("num_tokens", "n"), [(4, 2), (5, 2), (4, 3)])
def test_optima_are_the_linear_programmes(num_tokens, n):
    for p, q in random_cases(6, num_tokens):
        assert RULES["bound"](p, q, n) == pytest.approx(best_by_programme(p, tuples_with(q, n)), abs=1e-9)
        without = best_by_programme(p, tuples_without(q, n))
        assert RULES["bound-wo"](p, q, n) == pytest.approx(without, abs=1e-9)


def test_greedy_is_the_best_of_its_own_drafts():
    for p, q in random_cases(6, 5, seed=2):
        order = np.argsort(q)[::-1]
        for n in (2, 3):
            certain, others = tuple(order[: n - 1]), order[n - 1 :]
            law = {(*certain, x): q[x] / sum(q[y] for y in others) for x in others}
            assert RULES["greedy"](p, q, n) == pytest.approx(best_by_programme(p, law), abs=1e-9)


def played(p, q, n, without, num_rounds, seed):
    """Recursive rejection as it runs: chance that one of n drafts is accepted."""
    generator = np.random.default_rng(seed)
    accepted = 0
    for _ in range(num_rounds):
        left, drafts = np.array(p), np.array(q)
        for _ in range(n):
            token = generator.choice(len(q), p=drafts)
            if generator.random() < min(1.0, left[token] / drafts[token]):
                accepted += 1
                break
            left = np.maximum(left - drafts, 0)
            left /= left.sum()
            if without:
                drafts = drafts.copy()
                drafts[token] = 0
                drafts /= drafts.sum()
    return accepted / num_rounds


@pytest.mark.parametrize(("rule", "without"), [("rrs", False), ("rrs-wo", True)])
def test_recursive_rejection_is_its_loop(rule, without):
    share = RULES[rule](P, Q, 2)
    found = played(P, Q, 2, without, 8000, seed=3)
    assert abs(found - share) < 4 * (share * (1 - share) / 8000) ** 0.5


def test_order_of_the_rules():
    for p, q in random_cases(40, 5, seed=4):
        for n in (2, 3):
            found = {rule: law(p, q, n) for rule, law in RULES.items()}
            assert found["rrs"] <= found["kseq"] + 1e-9 <= found["bound"] + 2e-9
            assert found["rrs-wo"] <= found["bound-wo"] + 1e-9
            assert found["bound"] <= found["bound-wo"] + 1e-9
            assert all(0 <= chance <= 1 + 1e-12 for chance in found.values())
