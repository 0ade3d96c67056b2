"""DiffuSpec's blocks followed literally, reflective verification's tokens, and both through the engines."""

from dataclasses import replace

import numpy as np
import pytest
from support.rival_reference import DiffuSpec
from support.small_traces import StairLatency, independent_trace

import svsim
from svsim.decoding.block_walks import FollowedBlocks
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InputError, MethodError, MissingSignalError
from svsim.latency.geometry import model_geometry
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.synthetic.method_columns import with_columns
from svsim.trace.file import load_trace, save_trace
from svsim.trace.parts import MemorySource

TARGET, DRAFT = model_geometry("llama-3.1-8b"), model_geometry("llama-3.2-1b")
ON_GPU = RooflineLatency.of("h100_sxm", 1, TARGET, DRAFT)
N, KV = 4, 4 * 1000


@pytest.fixture(scope="module")
def trace():
    plain = independent_trace(400, 4, seed=4, greedy=True, output_tokens=(60, 160))
    return with_columns(plain, ["blocks:lengths=10/20/25/30,acceptance=.93,end=.03"], 0)[0]


@pytest.mark.parametrize(
    "options", [{}, {"k_min": 5, "k_max": 30, "delta": 3, "rho": 0.2}, {"k_min": 20, "k_max": 20}]
)
def test_paths_follow_the_controller_literally(trace, options):
    given = {"k_min": 20, "k_max": 30, "delta": 10, "rho": 0.5, **options}
    walked = FollowedBlocks(**given).walked(trace, "diffuspec")
    sizes = [k for k in trace.metadata.blocks if given["k_min"] <= k <= given["k_max"]]
    length, accepted = (trace.target.outcomes[n] for n in ("block_length", "block_accepted"))
    seen = set()
    for first, end in zip(trace.first_position[:-1], trace.first_position[1:], strict=True):
        controller, here = DiffuSpec(**given), int(first)
        while here < end:
            size = min(sizes, key=lambda k: (abs(k - controller.k), k))
            j = trace.metadata.blocks.index(size)
            generated, kept = int(length[here, j]), int(accepted[here, j])
            assert (walked.drafted[here], walked.verified[here], walked.accepted[here]) == (
                size, generated, kept,
            )  # fmt: skip
            controller.hear(generated, kept)
            seen.add(size)
            here += kept + 1
    assert (len(seen) > 1) == (len(sizes) > 1)


@pytest.mark.parametrize("refill", ["continuous", "static"])
@pytest.mark.parametrize("batch_of", ["requests", "copies"])
@pytest.mark.parametrize("text", ["diffuspec", "diffuspec:k_min=10,passes=2,kv_reuse=yes,search_s=0.001"])
def test_the_analytic_model_walks_the_same_paths(trace, text, batch_of, refill):
    options = {"methods": [text], "latency": ON_GPU, "batch_sizes": [1, 6]}
    options |= {"batch_of": batch_of, "refill": refill, "prefill": "include"}
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)
        assert mine.draft_acceptance_rate == pytest.approx(theirs.draft_acceptance_rate, rel=0.02)
    assert all(row.lossless for row in replayed.rows)


@pytest.mark.parametrize(
    ("text", "passes", "has_cache"),
    [("diffuspec", 1, False), ("diffuspec:passes=3,kv_reuse=yes,search_s=0.002", 3, True)],
)
def test_a_block_is_passes_over_it_and_over_the_context_without_a_cache(text, passes, has_cache):
    found = Deployment(ON_GPU, target=TARGET).priced(parse_method(text))
    tokens, kv = (25 * N, KV) if has_cache else (25 * N + KV, 0)
    one = float(ON_GPU.predict_s(StepShape(Role.DRAFT, N, tokens, kv)))
    search_s = 0.002 if has_cache else 0.0
    assert float(found.draft_s(N, 25 * N, KV)) == pytest.approx(passes * one + search_s, rel=1e-12)
    prompts = float(found.prefill_s(N, 900)) - float(ON_GPU.predict_s(StepShape(Role.TARGET, N, 900, 0)))
    assert (prompts > 1e-6) == has_cache  # without a cache there is nothing to fill


def test_what_is_drafted_beyond_the_end_of_a_block_is_paid_and_not_verified(trace):
    row = svsim.replay(trace, methods=["diffuspec"], latency=ON_GPU, batch_sizes=[4]).rows[-1]
    walked = FollowedBlocks(20, 30, 10, 0.5).walked(trace, "diffuspec")
    assert row.mean_verification_length < walked.drafted.min()
    assert row.draft_acceptance_rate < row.verified_acceptance_rate


def test_refusals(trace):
    def prepared(some, text):
        return prepare(
            MemorySource(some), RunSettings((parse_method(text),), (2,)), [Deployment(StairLatency())]
        )

    sampled = replace(trace, metadata=replace(trace.metadata, sampling={"greedy": False}))
    with pytest.raises(InputError, match="replays greedy decoding alone, and this trace is sampled"):
        prepared(sampled, "diffuspec")
    bare = replace(trace, target=replace(trace.target, outcomes={}))
    with pytest.raises(MissingSignalError, match=r"needs the column block_accepted .*--also blocks:"):
        prepared(bare, "diffuspec")
    with pytest.raises(MethodError, match="blocks of 10/20/25/30 tokens, none from 40 to 50"):
        svsim.replay(trace, methods=["diffuspec:k_min=40,k_max=50"], latency=ON_GPU, batch_sizes=[2])
    with pytest.raises(MethodError, match="k_min=31 exceeds k_max=30"):
        parse_method("diffuspec:k_min=31")


def test_blocks_are_stored_with_what_they_are_for(trace, tmp_path):
    save_trace(trace, tmp_path / "t.parquet")
    again = load_trace(tmp_path / "t.parquet")
    assert list(again.metadata.blocks) == [10, 20, 25, 30]
    for name, column in trace.target.outcomes.items():
        np.testing.assert_array_equal(again.target.outcomes[name], column)
        assert column.shape == (trace.num_positions, 4)


# -- reflective verification -----------------------------------------------------------------------------


def test_draft_tokens_are_verified_twice_beside_a_prompt():
    """1 + 2 k + prompt + suffix tokens a sequence, at the same context."""
    found = Deployment(ON_GPU, target=TARGET).priced(parse_method("reflect:k=5,prompt=16,suffix=8"))
    whole = float(ON_GPU.predict_s(StepShape(Role.TARGET, N, N * (1 + 10 + 24), KV)))
    assert float(found.verify_s(N, 6 * N, KV)) == pytest.approx(whole, rel=1e-12)
    once = float(ON_GPU.predict_s(StepShape(Role.TARGET, N, N, KV)))
    assert float(found.verify_s(N, N, KV)) == pytest.approx(once, rel=1e-12)


def test_the_second_reading_is_free_alone_and_dear_in_company():
    """In the slack of memory-bound passes at batch 1; two to three times the computing at large batches
    (2.2 times the tokens of k = 20, with the prompt)."""
    shares = {}
    for n in (1, 512):
        kinds = ("sd:k=20", "reflect:k=20")
        plain, twice = (Deployment(ON_GPU, target=TARGET).priced(parse_method(text)) for text in kinds)
        shares[n] = float(twice.verify_s(n, 21 * n, 500 * n) / plain.verify_s(n, 21 * n, 500 * n))
    assert 1.0 <= shares[1] < 1.15 and 2.0 < shares[512] < 3.2
