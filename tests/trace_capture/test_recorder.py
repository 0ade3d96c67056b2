"""The hook for an engine's own loop: stepwise traces."""

from pathlib import Path

import numpy as np
import pytest

from svsim.errors import InputError
from svsim.trace.file import load_trace, save_trace
from svsim.trace_capture.recorder import Recorder

VOCABULARY = 12


def law(rng: np.random.Generator, k: int) -> np.ndarray:
    weights = rng.random((k, VOCABULARY)) + 0.01
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def test_stepwise_trace(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    recorder = Recorder(num_speculative_tokens=4)
    recorder.start("a", num_prompt_tokens=11, task="code")
    recorder.start("b", num_prompt_tokens=3)
    q, c, p = (law(rng, 4) for _ in range(3))
    tokens = [3, 1, 0, 7]
    recorder.step("a", tokens, 2, q, c, p)
    recorder.step("a", [5, 5], 2, law(rng, 2), law(rng, 2), law(rng, 2))
    recorder.step("b", [], 0, np.zeros((0, VOCABULARY)), np.zeros((0, VOCABULARY)), np.zeros((0, VOCABULARY)))
    trace = recorder.trace(models={"target": {"name": "t"}}, sampling={"greedy": False}, seed=3)
    path = tmp_path / "x.parquet"
    save_trace(trace, path, signal_dtype="float32")
    trace = load_trace(path)
    assert trace.request_ids == ("a", "b")
    np.testing.assert_array_equal(trace.num_output_tokens, [6, 1])
    np.testing.assert_array_equal(trace.num_prompt_tokens, [11, 3])
    np.testing.assert_array_equal(trace.target.num_accepted, [2, 1, 0, 2, 1, 0, 0])
    assert (trace.metadata.chains, trace.metadata.acceptance_kind) == ("stepwise", "captured")
    assert trace.metadata.seed == 3
    similarity = np.minimum(q, c).sum(-1)
    accept = np.minimum(1, p / q)[np.arange(4), tokens]
    found = trace.observable.signals["similarity"]
    np.testing.assert_allclose(found[0], similarity, rtol=1e-5)
    np.testing.assert_allclose(found[2], [*similarity[2:], 0, 0], rtol=1e-5)
    assert trace.target.accept_prob is not None
    np.testing.assert_allclose(trace.target.accept_prob[1], [*accept[1:], 0], rtol=1e-5)
    assert (found[6] == 0).all()


def test_without_companion_and_target() -> None:
    rng = np.random.default_rng(0)
    recorder = Recorder(3)
    recorder.start("a", 5)
    recorder.step("a", [1, 2, 3], 1, law(rng, 3))
    trace = recorder.trace()
    assert set(trace.observable.signals) == {"draft_prob", "draft_entropy"}
    assert trace.target.accept_prob is None


def test_misuse_is_refused() -> None:
    rng = np.random.default_rng(0)
    recorder = Recorder(3)
    with pytest.raises(InputError, match="nothing was recorded"):
        recorder.trace()
    with pytest.raises(InputError, match="'a' was not started"):
        recorder.step("a", [1], 1, law(rng, 1))
    recorder.start("a", 5)
    with pytest.raises(InputError, match="'a' was started before"):
        recorder.start("a", 5)
    with pytest.raises(InputError, match="2 of 1 draft tokens accepted"):
        recorder.step("a", [1], 2, law(rng, 1))
    with pytest.raises(InputError, match=r"accepted <= drafted <= K = 3"):
        recorder.step("a", [1, 2, 3, 4], 2, law(rng, 4))
    recorder.step("a", [1], 1, law(rng, 1))
    with pytest.raises(InputError, match="pass the same models' probabilities at every step"):
        recorder.step("a", [1], 1, law(rng, 1), law(rng, 1))
    with pytest.raises(InputError, match="num_speculative_tokens = 0"):
        Recorder(0)
