"""Decisions that servers measured: what svsim says must not contradict them.

Source: github.com/manojarulmurugan/SpecDecoding-Study-vLLM-SGLang (d96e4fb): vLLM 0.24, one A100-SXM4-80GB,
Llama-3.1-8B in 16 bits with an EAGLE-3 head, k = 5. GSM8K: prompts of about 950 tokens, 256 out, 2.89 a
step; HumanEval: 180 in, 512 out, 4.08 tokens a step.
"""

import pytest
from support.small_traces import independent_trace

import svsim
from svsim.metrics.verdict import Answer, verdicts

# dataset: prompt and output tokens, acceptance per draft token (for the measured tokens a step)
DATASETS = {"gsm8k": (950, 256, 0.6918), "humaneval": (180, 512, 0.863)}
# dataset, users -> measured speedup over target-only decoding, of tokens per second
MEASURED = {("gsm8k", 1): 2.14, ("gsm8k", 64): 0.97, ("humaneval", 1): 3.17, ("humaneval", 64): 1.36}


def replayed(dataset, users):
    prompt, output, accept = DATASETS[dataset]
    lengths = {"prompt_tokens": (prompt, prompt + 1), "output_tokens": (output, output + 1)}
    trace = independent_trace(96, 5, seed=3, accept_prob=accept, **lengths)
    return svsim.replay(
        trace, target="llama-3.1-8b", drafter="eagle3", hardware="a100_sxm", latency="database",
        engine="vllm-0.24", methods=["td", "sd:k=5"], batch_sizes=users, prefill="include", profile_split=0,
    )  # fmt: skip


@pytest.mark.parametrize(("dataset", "users"), MEASURED)
def test_the_predicted_speedup_is_near_the_measured_one(dataset, users):
    (verdict,) = verdicts(replayed(dataset, users).rows)
    assert verdict.speedup_vs_td == pytest.approx(MEASURED[dataset, users], rel=0.3)
    assert verdict.engine == "vllm-0.20" and verdict.price_error is not None


def test_a_measured_loss_is_not_advised():
    (verdict,) = verdicts(replayed("gsm8k", 64).rows)
    assert verdict.verdict is not Answer.SPECULATE
    assert "validate TRACE --bench" in (verdict.measure_with or "validate TRACE --bench")


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_measured_gain_of_two_is_advised(dataset):
    (verdict,) = verdicts(replayed(dataset, 1).rows)
    assert verdict.verdict is Answer.SPECULATE


def test_bare_passes_would_have_advised_it():
    """Negative control: without an engine's prices and prefills the loss looks like a clear gain."""
    prompt, output, accept = DATASETS["gsm8k"]
    trace = independent_trace(
        96,
        5,
        seed=3,
        accept_prob=accept,
        prompt_tokens=(prompt, prompt + 1),
        output_tokens=(output, output + 1),
    )
    rows = svsim.replay(
        trace, target="llama-3.1-8b", drafter="eagle3", hardware="a100_sxm", latency="database",
        engine="none", methods=["td", "sd:k=5"], batch_sizes=64, profile_split=0,
    ).rows  # fmt: skip
    assert verdicts(rows)[0].verdict is Answer.SPECULATE
