"""The capture loop emits the target's law, and its chains are coherent."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from support.table_models import TableModel, random_tables, sequence_law, triple

from svsim.trace_capture.coherent_chains import ChainOptions, ChainRecord, Triple, Uniforms, record_chains
from svsim.trace_capture.settings import SamplingSettings

Floats = NDArray[np.float64]


def options(k: int, length: int, **sampling: object) -> ChainOptions:
    return ChainOptions(SamplingSettings(**sampling), k, length, bias_stride=2)  # type: ignore[arg-type]


def random_uniforms(num: int, length: int, k: int, seed: int) -> Uniforms:
    generators = [np.random.default_rng([seed, i]) for i in range(num)]
    return Uniforms.draw(generators, length, k)


def law_of(tokens: NDArray[np.int64], vocabulary: int) -> Floats:
    """Counts of every emitted sequence, [V] * length."""
    codes = np.ravel_multi_index(tuple(tokens.T), (vocabulary,) * tokens.shape[1])
    return np.bincount(codes, minlength=vocabulary ** tokens.shape[1]).astype(float)


def quarter_tables(seed: int) -> list[Floats]:
    """Laws made of quarters: (1/2, 1/4, 1/4) in random order, so that a is 1/2 or 1 and grids are exact."""
    rng = np.random.default_rng(seed)
    return [rng.permuted(np.tile([0.5, 0.25, 0.25], (3, 3, 1)), axis=-1) for _ in range(3)]


@pytest.mark.parametrize("seed", [0, 1])
def test_emitted_law_is_exactly_the_targets(seed: int) -> None:
    # Every draw falls on one of 4 equally likely draft values and 2 coins; the residual of two such laws
    # is a single token. So running every combination of the five cells that decide three tokens gives
    # the emitted law without any sampling error.
    k, length = 2, 3
    tables = quarter_tables(seed)
    cells = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    points = [(draft, coin) for draft in (0.125, 0.375, 0.625, 0.875) for coin in (0.25, 0.75)]
    combinations = np.array(list(itertools.product(points, repeat=len(cells))))
    num = len(combinations)
    uniforms = Uniforms(*(np.full((num, length, k), 0.5) for _ in range(3)))
    for index, (row, depth) in enumerate(cells):
        uniforms.drafts[:, row, depth] = combinations[:, index, 0]
        uniforms.coins[:, row, depth] = combinations[:, index, 1]
    record = record_chains(triple(tables), [(1, 2)] * num, uniforms, options(k, length))
    counts = law_of(record.emitted_tokens, 3)
    np.testing.assert_array_equal(counts, sequence_law(tables[0], (1, 2), length).ravel() * num)


@pytest.mark.parametrize(
    "sampling", [{}, {"deterministic_draft": True}], ids=["sampled", "deterministic-draft"]
)
def test_emitted_law_against_plain_sampling(sampling: dict[str, bool]) -> None:
    # Chi-square over all 4^4 continuations with 30,000 sequences at level 1e-4. Power: a recovered token
    # drawn from p instead of norm((p - q)+), the classic mistake, is a total variation of a few percent and
    # is rejected by the next test; the statistic's noncentrality there is several hundred.
    vocabulary, k, length, num = 4, 3, 4, 30_000
    tables = random_tables(vocabulary, seed=3)
    record = record_chains(
        triple(tables), [(2,)] * num, random_uniforms(num, length, k, seed=5), options(k, length, **sampling)
    )
    counts, law = law_of(record.emitted_tokens, vocabulary), sequence_law(tables[0], (2,), length).ravel()
    assert stats.chisquare(counts, law * num).pvalue > 1e-4


def test_the_law_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: recovered tokens from p itself are caught by the same test at the same size."""
    from svsim.trace_capture import sampling as module

    def from_target(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        is_residual = (weights.sum(-1) < 0.999)[..., None]
        return draw(torch.where(is_residual, weights + 0.05, weights), uniform)

    draw = module.draw
    monkeypatch.setattr(module, "draw", from_target)
    vocabulary, k, length, num = 4, 3, 4, 30_000
    tables = random_tables(vocabulary, seed=3)
    record = record_chains(
        triple(tables), [(2,)] * num, random_uniforms(num, length, k, seed=5), options(k, length)
    )
    counts, law = law_of(record.emitted_tokens, vocabulary), sequence_law(tables[0], (2,), length).ravel()
    assert stats.chisquare(counts, law * num).pvalue < 1e-12


def recorded(
    num: int = 400, length: int = 30, k: int = 5, **sampling: object
) -> tuple[ChainRecord, list[Floats]]:
    tables = random_tables(6, seed=11)
    prompts = [(i % 6,) * (1 + i % 3) for i in range(num)]
    record = record_chains(
        triple(tables), prompts, random_uniforms(num, length, k, seed=7), options(k, length, **sampling)
    )
    return record, tables


@pytest.mark.parametrize("sampling", [{}, {"greedy": True}], ids=["sampled", "greedy"])
def test_chains_are_coherent(sampling: dict[str, bool]) -> None:
    record, _ = recorded(**sampling)
    k = 5
    now, following = record.num_accepted[:, :-1], record.num_accepted[:, 1:]
    inside = (now > 0) & (now < k)
    assert inside.sum() > 1000
    np.testing.assert_array_equal(following[inside], now[inside] - 1)
    assert np.all(following[now == k] >= k - 1)
    for name, column in record.columns.items():
        kept = column[:, 1:, : k - 1][now > 0]
        np.testing.assert_array_equal(kept, column[:, :-1, 1:][now > 0], err_msg=name)


def test_accepted_counts_are_the_recorded_coins() -> None:
    record, _ = recorded()
    accepted = record.columns["target_coin"] < record.columns["accept_prob"]
    np.testing.assert_array_equal(record.num_accepted, np.cumprod(accepted, -1).sum(-1))


def test_greedy_chains_equal_fresh_chains_at_every_position() -> None:
    # a deterministic draft's chain at a position is a function of the prefix: redrawing it changes nothing
    record, tables = recorded(num=20, length=15, greedy=True)
    target, draft = (table.argmax(-1) for table in tables[:2])
    for row in range(20):
        context = [0, *([row % 6] * (1 + row % 3))]
        for position in range(15):
            chain_context, accepted = list(context), 0
            for _ in range(5):
                token = draft[chain_context[-2], chain_context[-1]]
                if token != target[chain_context[-2], chain_context[-1]]:
                    break
                chain_context.append(token)
                accepted += 1
            assert record.num_accepted[row, position] == accepted
            context.append(int(target[context[-2], context[-1]]))
            assert record.emitted_tokens[row, position] == context[-1]


def test_results_do_not_depend_on_the_batch() -> None:
    tables = random_tables(6, seed=2)
    uniforms = random_uniforms(12, 20, 4, seed=1)
    prompts = [(i % 6, i % 5) for i in range(12)]
    together = record_chains(triple(tables), prompts, uniforms, options(4, 20))
    for i in (0, 7):
        one = Uniforms(*(t[i : i + 1] for t in (uniforms.drafts, uniforms.coins, uniforms.spares)))
        alone = record_chains(triple(tables), prompts[i : i + 1], one, options(4, 20))
        np.testing.assert_array_equal(alone.emitted_tokens[0], together.emitted_tokens[i])
        np.testing.assert_array_equal(alone.columns["accept_prob"][0], together.columns["accept_prob"][i])


def live_speculative_decoding(
    tables: list[Floats], prompt: tuple[int, ...], k: int, length: int, rng: np.random.Generator
) -> list[int]:
    """The plain loop: draft k, verify, accept or recover, bonus. Returns the emitted counts of its steps."""
    target, draft, _ = tables
    tokens, steps, emitted = [0, *prompt], [], 0
    vocabulary = len(target)
    while emitted < length:
        base, accepted = len(tokens), 0
        for _ in range(k):
            tokens.append(int(rng.choice(vocabulary, p=draft[tokens[-2], tokens[-1]])))
        for depth in range(k):
            older, last, x = tokens[base + depth - 2], tokens[base + depth - 1], tokens[base + depth]
            p, q = target[older, last], draft[older, last]
            if rng.random() * q[x] >= p[x]:
                residual = np.maximum(p - q, 0)
                tokens[base + depth :] = [int(rng.choice(vocabulary, p=residual / residual.sum()))]
                break
            accepted += 1
        else:
            tokens.append(int(rng.choice(vocabulary, p=target[tokens[-2], tokens[-1]])))
        steps.append(accepted + 1)
        emitted += accepted + 1
    return steps


def test_walking_the_trace_equals_live_decoding() -> None:
    # mean accepted length of SD(4): jumps over the recorded positions against a live loop that shares nothing
    k, length, num = 4, 120, 250
    tables = random_tables(6, seed=11, closeness=0.7)
    record = record_chains(
        triple(tables), [(1, 3)] * num, random_uniforms(num, length, k, seed=9), options(k, length)
    )
    walked = []
    for counts in record.num_accepted:
        position, steps = 0, []
        while position < length - k:
            steps.append(int(counts[position]) + 1)
            position += steps[-1]
        walked.append(np.mean(steps))
    rng = np.random.default_rng(123)
    live = [np.mean(live_speculative_decoding(tables, (1, 3), k, length - k, rng)) for _ in range(num)]
    error = np.hypot(np.std(walked) / np.sqrt(num), np.std(live) / np.sqrt(num))
    assert error < 0.03
    assert abs(np.mean(walked) - np.mean(live)) < 3 * error


def test_end_of_sequence_ends_a_request() -> None:
    tables = random_tables(4, seed=1)
    opts = ChainOptions(SamplingSettings(), 3, 40, end_tokens=frozenset({2}))
    record = record_chains(triple(tables), [(1,)] * 200, random_uniforms(200, 40, 3, seed=4), opts)
    assert record.num_positions.min() < 5
    for row, num in zip(record.emitted_tokens, record.num_positions, strict=True):
        ends = np.flatnonzero(row[:num] == 2)
        assert list(ends) == ([num - 1] if num < 40 else [] if row[num - 1] != 2 else [39])


class NanModel(TableModel):
    """Row 1 turns to NaN once it reads position 6."""

    def logits(self, rows: torch.Tensor, tokens: torch.Tensor, first_position: torch.Tensor) -> torch.Tensor:
        logits = super().logits(rows, tokens, first_position).clone()
        positions = first_position[:, None] + torch.arange(tokens.shape[1])
        logits[(rows[:, None] == 1) & (positions >= 6)] = torch.nan
        return logits


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_not_a_number_drops_the_request_only(broken: int) -> None:
    tables = random_tables(6, seed=2)
    uniforms = random_uniforms(4, 20, 3, seed=1)
    prompts = [(1, 2)] * 4
    healthy = record_chains(triple(tables), prompts, uniforms, options(3, 20))
    models = [TableModel(table) for table in tables]
    models[broken] = NanModel(tables[broken])
    record = record_chains(Triple(*models), prompts, uniforms, options(3, 20))
    assert record.is_dropped.tolist() == [False, True, False, False]
    for row in (0, 2, 3):
        np.testing.assert_array_equal(record.emitted_tokens[row], healthy.emitted_tokens[row])
        np.testing.assert_array_equal(record.columns["similarity"][row], healthy.columns["similarity"][row])
