"""The emitted law under a keep rule, and its bias along text of the target, against enumeration."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.table_models import random_tables, sequence_law, triple

from svsim.errors import InputError
from svsim.trace.file import load_trace
from svsim.trace_capture.bias_along_text import (
    KeepRule,
    Texts,
    causal_rule,
    drafted_signals,
    measure_bias,
    survival_rule,
    threshold_rule,
)
from svsim.trace_capture.rule_bias import displacement, drafted_share, total_variation
from svsim.trace_capture.settings import SamplingSettings

Floats = NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]
V, LIMIT, LENGTH = 3, 2, 3
PROMPT = (2, 1)
SAMPLING = SamplingSettings()


def believe(similarity: torch.Tensor, accept: torch.Tensor) -> torch.Tensor:
    return 0.1 + 0.3 * similarity + 0.6 * accept


RULES = {
    "A": threshold_rule("companion_accept", 0.7),
    "q": threshold_rule("draft_prob", 0.3),
    "S": threshold_rule("similarity", 0.7),
    "survival": survival_rule(believe, 0.5),
    "causal": causal_rule(believe, 0.5),
}
LOSSLESS = {"S", "causal"}


def laws(seed: int, num: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.dirichlet(np.ones(6), num), dtype=torch.float64) for _ in range(2)]


def test_an_emitted_token_was_drafted_or_not() -> None:
    """P = drafted share + recovered + bonus, every case followed; and the text's law is that P."""
    p, q = laws(1, 30)
    keep = torch.tensor(np.random.default_rng(2).integers(0, 2, (30, 6)), dtype=torch.float64)
    rejected, surplus = (q - p).clamp_min(0), (p - q).clamp_min(0)
    drafted = keep * torch.minimum(p, q)
    recovered = (keep * rejected).sum(-1, keepdim=True) * surplus / surplus.sum(-1, keepdim=True)
    law = drafted + recovered + (1 - (keep * q).sum(-1, keepdim=True)) * p
    assert torch.allclose(law, p + displacement(p, q, keep), atol=1e-12)
    assert torch.allclose(total_variation(p, q, keep), 0.5 * (law - p).abs().sum(-1), atol=1e-12)
    for v in range(6):
        token = torch.full((30,), v)
        assert torch.allclose(drafted_share(p, q, keep, token), drafted[:, v] / law[:, v], atol=1e-12)


class Enumeration:
    """Every text, draft and coin of a rule on table models: what the walk estimates, exactly."""

    def __init__(self, tables: list[Floats], rule: KeepRule) -> None:
        self.tables, self.rule = tables, rule

    def at(self, text: tuple[int, ...], depth: int, survival: float) -> tuple[Floats, Floats, Floats]:
        """(p, emitted law, chance that the emitted token carries the step on), [V] each."""
        p, q, c = (torch.tensor(t[text[-2], text[-1]])[None] for t in self.tables)
        score = survival * self.rule.score(q, c)
        keep = ((score >= self.rule.threshold) & (depth < LIMIT)).double().expand_as(q)
        law = p + displacement(p, q, keep)
        return p[0].numpy(), law[0].numpy(), (keep * torch.minimum(p, q) / law)[0].numpy()

    def passed(self, text: tuple[int, ...], survival: float) -> Floats:
        _, q, c = (torch.tensor(t[text[-2], text[-1]])[None] for t in self.tables)
        factor = torch.ones_like(q) if self.rule.passed is None else self.rule.passed(q, c)
        return survival * factor[0].numpy()

    def walks(
        self, own_text: bool, text: tuple[int, ...] = PROMPT, depth: int = 0, survival: float = 1.0
    ) -> Iterator[tuple[tuple[int, ...], float, list[float]]]:
        """(text, probability, bias at every position): text of the rule itself, or of the target."""
        if len(text) == LENGTH + len(PROMPT):
            yield text, 1.0, []
            return
        p, law, drafted = self.at(text, depth, survival)
        after, bias = self.passed(text, survival), 0.5 * float(np.abs(law - p).sum())
        for v in range(V):
            longer, chance = (*text, v), law[v] if own_text else p[v]
            for prob, state in ((drafted[v], (depth + 1, float(after[v]))), (1 - drafted[v], (0, 1.0))):
                for end, rest, biases in self.walks(own_text, longer, *state) if prob > 0 else ():
                    yield end, chance * prob * rest, [bias, *biases]


@pytest.mark.parametrize("name", RULES)
def test_bias_along_text_against_enumeration(name: str) -> None:
    tables = random_tables(V, seed=3)
    exact = Enumeration(tables, RULES[name])
    expected = sum(prob * np.mean(biases) for _, prob, biases in exact.walks(own_text=False))
    found = measure_bias(
        triple(tables), Texts([PROMPT] * 4000, SAMPLING, LENGTH), {name: RULES[name]}, LIMIT
    )[name]
    assert found.num_positions == 4000 * LENGTH
    assert abs(found.mean_total_variation - expected) <= 4 * found.standard_error + 1e-6
    if name in LOSSLESS:
        assert found.mean_total_variation < 1e-6
    else:
        assert found.mean_total_variation > 0.01
    assert 0 < found.kept_share < 1 and 1 < found.tokens_per_step < LIMIT + 1


@pytest.mark.parametrize("name", RULES)
def test_the_sum_of_the_biases_bounds_that_of_the_text(name: str) -> None:
    """Total variation of three tokens' joint law, beside three times the mean bias of a position."""
    tables = random_tables(V, seed=3)
    exact = Enumeration(tables, RULES[name])
    law = np.zeros((V,) * LENGTH)
    for text, prob, _ in exact.walks(own_text=True):
        law[text[len(PROMPT) :]] += prob
    assert law.sum() == pytest.approx(1.0)
    of_text = 0.5 * np.abs(law - sequence_law(tables[0], PROMPT, LENGTH)).sum()
    bound = sum(prob * sum(biases) for _, prob, biases in exact.walks(own_text=False))
    if name in LOSSLESS:
        assert of_text < 1e-12 and bound < 1e-12
    else:
        assert 0.02 < of_text < bound


def test_text_and_steps_are_drawn_apart_for_every_request() -> None:
    """Same seed, same numbers, whatever else is measured beside; other requests, other numbers."""
    models, texts = triple(random_tables(V, seed=3)), Texts([PROMPT] * 3, SAMPLING, 20)
    pair = {name: RULES[name] for name in ("A", "q")}
    both = measure_bias(models, texts, pair, LIMIT)
    assert both == measure_bias(models, texts, pair, LIMIT)
    assert both["A"] == measure_bias(models, texts, {"A": RULES["A"]}, LIMIT)["A"]
    assert both["A"] != measure_bias(models, Texts([PROMPT] * 3, SAMPLING, 20, first=3), pair, LIMIT)["A"]


def test_signals_of_drafted_tokens() -> None:
    """S, A and a of x ~ q behind text of the target: E[a | place] is the overlap, E[A | place] is S."""
    tables = random_tables(V, seed=3)
    similarity, accept, a = drafted_signals(
        triple(tables), Texts([PROMPT] * 4000, SamplingSettings(temperature=1.0), 1)
    )
    p, q, c = (t[PROMPT] for t in tables)
    np.testing.assert_allclose(similarity, np.minimum(q, c).sum(), atol=1e-6)
    for found, law in ((accept, c), (a, p)):
        assert abs(found.mean() - np.minimum(q, law).sum()) <= 4 * found.std() / np.sqrt(len(found))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="deterministic draft"):
        Texts([PROMPT] * 2, SamplingSettings(greedy=True), 4)
    with pytest.raises(InputError, match="two prompts"):
        Texts([PROMPT], SAMPLING, 4)


@pytest.mark.parametrize("task", ["code", "prose", "mixed"])
def test_the_page_agrees_with_the_captured_traces(task: str) -> None:
    """Same models, other text: docs/losslessness.md beside what captures measured every 8th position."""
    trace = load_trace(ROOT / "traces" / f"cpu_triplet_{task}_t07.parquet")
    captured = trace.metadata.extra["capture"]["rule_bias"]
    page = (ROOT / "docs" / "losslessness.md").read_text(encoding="utf-8")
    head, row = (
        next(line for line in page.splitlines() if line.startswith(start)).split("|")
        for start in ("| text | temperature |", f"| {task} | 0.7 |")
    )
    cells = dict(zip((name.strip() for name in head), row, strict=True))
    for name, rule in (("A >= 0.6", "companion_accept>=0.6"), ("q(x) >= 0.2", "draft_prob>=0.2")):
        mean, error = (float(number) / 100 for number in cells[name].split("±"))
        other = captured[rule]
        tolerance = 4 * np.hypot(error, other["standard_error"])
        assert abs(mean - other["mean_total_variation"]) <= tolerance
