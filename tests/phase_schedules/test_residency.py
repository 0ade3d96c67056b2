"""The residency laws: sums written out, a loop of single queries, and where the published law goes wrong."""

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.phase_schedules.loop import run_phases
from svsim.phase_schedules.residency import (
    Law,
    OutputLengths,
    PhaseBatches,
    arriving,
    residents_per_query,
)

SUMMARISE = OutputLengths.truncated_normal(32, 13, 80)  # ExeGPT, table 3, task S
SMALL = OutputLengths(np.array([0.5, 0.0, 0.2, 0.1, 0.2]))


def test_batches_are_the_sums_over_stages() -> None:
    for law in Law:
        lengths = arriving(SMALL, 2, law)
        queries, ages = np.zeros(2), np.zeros(2)
        for s, share in enumerate(lengths.probability, 1):
            for step in range(s):  # a query of s tokens takes s passes, one after another
                queries[step % 2] += share
                ages[step % 2] += share * step
        found = PhaseBatches.of(SMALL, 2, law)
        assert found.queries == pytest.approx(queries) and found.output_tokens == pytest.approx(ages)


def test_the_papers_law_as_it_is_printed() -> None:
    """P(U|s): 1 at U = s if s <= N_D, else 1/ceil(s/N_D) at 1 + (s - 1) mod N_D; B_E = B_D sum of P(U)."""
    for nd in (1, 3, 7, 13, 80):
        completing = np.zeros(nd)
        for s, share in enumerate(SUMMARISE.probability, 1):
            completing[(s - 1) % nd] += share / -(-s // nd)
        bd = residents_per_query(SUMMARISE, nd, Law.PAPER)
        assert bd == pytest.approx(1 / completing.sum())
        batches = bd * (1 - np.concatenate([[0], np.cumsum(completing)[:-1]]))
        assert PhaseBatches.of(SUMMARISE, nd, Law.PAPER).queries == pytest.approx(batches)


@pytest.mark.parametrize("nd", [1, 5, 13, 40, 100])
def test_the_papers_law_is_never_the_larger(nd: int) -> None:
    """Jensen: E[1/c] >= 1/E[c], equal where every query stays equally long."""
    paper, resident = (residents_per_query(SUMMARISE, nd, law) for law in (Law.PAPER, Law.RESIDENT))
    assert paper <= resident + 1e-12
    assert (paper == pytest.approx(resident)) == (nd >= 80)


def test_one_pass_a_phase_is_the_papers_own_rule_for_waa() -> None:
    assert residents_per_query(SUMMARISE, 1) == pytest.approx(SUMMARISE.mean)
    assert residents_per_query(SUMMARISE, 1, Law.PAPER) == pytest.approx(
        1 / (SUMMARISE.probability / SUMMARISE.tokens).sum()
    )


def test_a_loop_of_single_queries_decides_between_the_laws() -> None:
    """52 queries a phase of 13 passes: 153 residents, where the published rule says 131.

    Held at 131, the loop admits 44.5, 14 % fewer than 52.
    """
    resident, paper = (52 * residents_per_query(SUMMARISE, 13, law) for law in Law)
    assert resident == pytest.approx(153.2, abs=0.1) and paper == pytest.approx(131.0, abs=0.1)
    free = run_phases(SUMMARISE, 13, np.random.default_rng(1), admit=52)
    assert free.admitted == 52
    assert abs(free.residents - resident) < 4 * free.residents_error < 1.0
    expected = 52 * PhaseBatches.of(SUMMARISE, 13).queries
    assert free.batches == pytest.approx(expected, abs=1.0)
    held = run_phases(SUMMARISE, 13, np.random.default_rng(2), hold=131)
    assert held.residents == 131
    assert abs(held.admitted - 131 / residents_per_query(SUMMARISE, 13)) < 4 * held.admitted_error < 0.3
    assert held.admitted / 52 == pytest.approx(0.855, abs=0.01)


def test_lengths() -> None:
    assert OutputLengths.observed([1, 1, 3, 5]).probability == pytest.approx([0.5, 0, 0.25, 0, 0.25])
    assert SUMMARISE.probability.sum() == pytest.approx(1) and len(SUMMARISE.probability) == 80
    assert SUMMARISE.quantile(0.99) == 62 and SMALL.quantile(0.5) == 1 and SMALL.quantile(1.0) == 5
    for bad in ([], [0, 3]):
        with pytest.raises(InputError, match="at least one must be given"):
            OutputLengths.observed(bad)
    with pytest.raises(InputError, match="deviation 0 up to 80"):
        OutputLengths.truncated_normal(32, 0, 80)
