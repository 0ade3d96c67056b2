"""What is recorded of real (tiny) models, against plain references in float64 without caches."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from support.tiny_captures import settings_for

from svsim.trace.file import load_trace
from svsim.trace_capture.cached_model import CachedModel
from svsim.trace_capture.capture import capture
from svsim.trace_capture.coherent_chains import ChainOptions, Triple, Uniforms, record_chains
from svsim.trace_capture.model_loading import load_models
from svsim.trace_capture.prompts import read_prompts
from svsim.trace_capture.sampling import Verdict, draw
from svsim.trace_capture.settings import SamplingSettings

Floats = NDArray[np.float64]
TEMPERATURE, TOP_K = 0.8, 12


@pytest.fixture(scope="module")
def models(triplet: Path) -> dict[str, CachedModel]:
    return load_models(settings_for(triplet, Path("unused.parquet"))).models


@torch.inference_mode()
def plain_laws(model: CachedModel, texts: NDArray[np.int64], num_last: int) -> Floats:
    """Laws [N, num_last, V] after each of the last tokens of ``texts`` [N, w]: temperature, then top-k."""
    rows = []
    for part in torch.as_tensor(texts).split(2000):
        scaled = model.model(input_ids=part, use_cache=False).logits[:, -num_last:].double() / TEMPERATURE
        kth = scaled.sort(-1, descending=True).values[..., TOP_K - 1 : TOP_K]
        rows.append(torch.softmax(scaled.masked_fill(scaled < kth, -torch.inf), -1).numpy())
    return np.concatenate(rows)


def sampled(laws: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """One token of each law [N, V]."""
    return np.asarray((laws.cumsum(-1) > rng.random((len(laws), 1))).argmax(-1))


SAMPLING = SamplingSettings(temperature=TEMPERATURE, top_k=TOP_K)
NUM_TEXTS, LEVEL, DETECTABLE = 5_000, 1e-3, 0.07


def emitted_by_capture(models: dict[str, CachedModel], prompt: tuple[int, ...]) -> NDArray[np.int64]:
    triple = Triple(models["target"], models["draft"], models["companion"])
    uniforms = Uniforms.draw([np.random.default_rng([1, i]) for i in range(NUM_TEXTS)], 3, 2)
    options = ChainOptions(SAMPLING, 2, 3, with_signals=False)
    return record_chains(triple, [prompt] * NUM_TEXTS, uniforms, options).emitted_tokens


def law_p_value(models: dict[str, CachedModel], prompt: tuple[int, ...]) -> tuple[float, float]:
    """Two-sample chi-squared test of the third token, capture against target; its power.

    Power is that against a law at a total variation of ``DETECTABLE``: the noncentrality of N against N
    texts is N sum (p - q)^2 / (p + q) >= 2 N TV^2.
    """
    emitted = emitted_by_capture(models, prompt)
    rng, texts = np.random.default_rng(2), np.tile(prompt, (NUM_TEXTS, 1))
    for _ in range(3):
        texts = np.hstack([texts, sampled(plain_laws(models["target"], texts, 1)[:, 0], rng)[:, None]])
    ours, theirs = (np.bincount(tokens, minlength=400) for tokens in (emitted[:, 2], texts[:, -1]))
    rare = ours + theirs < 20
    ours, theirs = (np.append(counts[~rare], counts[rare].sum()) for counts in (ours, theirs))
    statistic = ((ours - theirs) ** 2 / np.maximum(ours + theirs, 1)).sum()
    freedom = len(ours) - 1
    critical = stats.chi2.isf(LEVEL, freedom)
    power = stats.ncx2.sf(critical, freedom, 2 * NUM_TEXTS * DETECTABLE**2)
    return float(stats.chi2.sf(statistic, freedom)), float(power)


def test_emitted_law_is_plain_target_sampling(triplet: Path, models: dict[str, CachedModel]) -> None:
    prompt = read_prompts(triplet / "prompts_code.jsonl", 1)[0].token_ids or ()
    p_value, power = law_p_value(models, prompt[:8])
    assert power > 0.9
    assert p_value > LEVEL


def test_a_wrong_recovered_token_is_found(
    triplet: Path, models: dict[str, CachedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: recovered tokens from p instead of norm((p - q)+)."""
    from svsim.trace_capture import coherent_chains

    right = coherent_chains.verify

    def wrong(p, q, tokens, sampling, *, coins, spares):  # type: ignore[no-untyped-def]
        verdict = right(p, q, tokens, sampling, coins=coins, spares=spares)
        return Verdict(verdict.accept_prob, verdict.accepted, draw(p, spares))

    monkeypatch.setattr(coherent_chains, "verify", wrong)
    prompt = read_prompts(triplet / "prompts_code.jsonl", 1)[0].token_ids or ()
    p_value, _ = law_p_value(models, prompt[:8])
    assert p_value < LEVEL


def test_recorded_signals_are_those_of_plain_float64_passes(
    triplet: Path, models: dict[str, CachedModel]
) -> None:
    # the tokens of a chain are known as far as they were accepted; S and the overlap need one less
    num, length, k = 6, 20, 4
    prompts = [p.token_ids or () for p in read_prompts(triplet / "prompts_mixed.jsonl", num)]
    uniforms = Uniforms.draw([np.random.default_rng(i) for i in range(num)], length, k)
    triple = Triple(models["target"], models["draft"], models["companion"])
    record = record_chains(triple, prompts, uniforms, ChainOptions(SAMPLING, k, length))
    num_compared = 0
    for row, prompt in enumerate(prompts):
        text = np.array([*prompt, *record.emitted_tokens[row]])
        p, q, c = (
            plain_laws(models[role], text[None], length + 1)[0] for role in ("target", "draft", "companion")
        )
        for position in range(length):
            known = min(int(record.num_accepted[row, position]), length - position - 1)
            for depth in range(min(known + 1, k)):
                at, x = position + depth, text[len(prompt) + position + depth]
                expected = {
                    "similarity": np.minimum(q[at], c[at]).sum(),
                    "target_overlap": np.minimum(q[at], p[at]).sum(),
                    "draft_entropy": stats.entropy(q[at]),
                    "target_entropy": stats.entropy(p[at]),
                }
                if depth < known:
                    expected |= {
                        "draft_prob": q[at, x],
                        "companion_accept": min(1.0, c[at, x] / q[at, x]),
                        "accept_prob": min(1.0, p[at, x] / q[at, x]),
                        "draft_rank": (q[at] > q[at, x]).sum(),
                        "target_rank": (p[at] > p[at, x]).sum(),
                    }
                for name, value in expected.items():
                    found = float(record.columns[name][row, position, depth])
                    assert found == pytest.approx(value, abs=1e-4), (name, row, position, depth)
                    num_compared += 1
    assert num_compared > 1000


@torch.inference_mode()
def live_steps(
    models: dict[str, CachedModel], prompt: tuple[int, ...], k: int, length: int, rng: np.random.Generator
) -> list[int]:
    """Plain speculative decoding without caches: emitted tokens of every step."""

    def probs(role: str, text: list[int], last: int) -> np.ndarray:
        logits = models[role].model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -last:]
        return np.asarray(torch.softmax(logits.double() / 0.8, -1).numpy())

    text, steps = list(prompt), []
    while sum(steps) < length:
        drafted: list[int] = []
        laws = []
        for _ in range(k):
            laws.append(probs("draft", text + drafted, 1)[0])
            drafted.append(int(rng.choice(len(laws[-1]), p=laws[-1])))
        targets = probs("target", text + drafted, k + 1)
        accepted = 0
        while (
            accepted < k
            and rng.random() * laws[accepted][drafted[accepted]] < targets[accepted][drafted[accepted]]
        ):
            accepted += 1
        law = targets[accepted] if accepted == k else np.maximum(targets[accepted] - laws[accepted], 0)
        text += [*drafted[:accepted], int(rng.choice(len(law), p=law / law.sum()))]
        steps.append(accepted + 1)
    return steps


def test_stored_trace_replays_to_the_live_loop(triplet: Path, tmp_path: Path) -> None:
    k, length, num = 4, 24, 90
    ids = read_prompts(triplet / "prompts_code.jsonl", 10)
    rows = [{"id": str(i), "prompt_token_ids": ids[i % 10].token_ids} for i in range(num)]
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "x.parquet"
    prompts.write_text("\n".join(map(json.dumps, rows)))
    settings = settings_for(triplet, out, prompts=prompts, num_output_tokens=length + k, batch_size=num)
    capture(settings)
    trace = load_trace(out)
    walked = []
    for first, last in zip(trace.first_position[:-1], trace.first_position[1:], strict=True):
        counts, position, steps = trace.target.num_accepted[first:last], 0, []
        while position < length:
            steps.append(int(counts[position]) + 1)
            position += steps[-1]
        walked.append(np.mean(steps))
    models, rng = load_models(settings).models, np.random.default_rng(1)
    live = [np.mean(live_steps(models, ids[i % 10].token_ids or (), k, length, rng)) for i in range(num)]
    error = np.hypot(np.std(walked), np.std(live)) / np.sqrt(num)
    assert error < 0.15
    assert abs(np.mean(walked) - np.mean(live)) < 3 * error
