"""``svsim.info`` from Python: put together rightly, and honest about what a trace lacks."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.known_laws import load_script
from support.shared_data import shared
from support.small_traces import StairLatency, independent_trace
from support.specdecode_bench import specdecode_bench_trace

import svsim
from svsim.errors import InputError, LatencyError
from svsim.latency.linear import LinearLatency
from svsim.latency.shape import Role
from svsim.trace import sample as sampling
from svsim.trace.file import save_trace
from svsim.trace.parts import FileSource, MemorySource
from svsim.trace.split import profile_mask
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata

LLAMA = Path(__file__).resolve().parents[2] / "traces" / "llama70b.parquet"
LAW = load_script().DiscreteLaw.example()


class SlowDraft(StairLatency):
    """A drafter as slow as 0.4 target passes."""

    def predict_s(self, shape):
        return super().predict_s(shape) * (5.0 if shape.role is Role.DRAFT else 1.0)


def trace_of_the_law(num_requests, tokens_per_request=40, seed=0):
    """Depth-1 tokens of the known law; K = 1."""
    num_tokens = num_requests * tokens_per_request
    rng = np.random.default_rng(seed)
    s, companion, a = (c[:, None].astype(np.float32) for c in LAW.sample(rng, num_tokens))
    return TokenTrace(
        tuple(f"request-{r}" for r in range(num_requests)),
        np.arange(num_requests + 1) * tokens_per_request,
        np.full(num_requests, 10, np.int32),
        ObservableColumns({"similarity": s, "companion_accept": companion}),
        TargetColumns((rng.random(num_tokens) < a[:, 0]).astype(np.int16), a),
        TraceMetadata(1, "synthetic", "independent"),
    )


def belief(found, name="S and A"):
    return next(b for b in found.information.beliefs if b.name == name)


def without_probabilities(trace):
    return replace(trace, target=TargetColumns(trace.target.num_accepted))


def test_held_out_gain_of_a_known_law():
    """The learning cost of 32 cells is about 32 / (2 N ln 2) bits; the rest is the interval."""
    trace = trace_of_the_law(1500)
    found = svsim.info(trace)
    gain, cost = belief(found).gain_bits, 32 / (2 * found.information.num_profile_tokens * np.log(2))
    error = (gain.ci_high - gain.ci_low) / 3.92
    assert LAW.gain_bits - 2 * cost - 4 * error < gain.value < LAW.gain_bits + 4 * error
    ceiling = found.information.ceiling_bits
    assert ceiling.value == pytest.approx(LAW.ceiling_bits, abs=4 * (ceiling.ci_high - ceiling.ci_low) / 3.92)
    assert belief(found, "S").gain_bits.value < gain.value > belief(found, "A").gain_bits.value
    assert belief(found).calibration.error < 4 * belief(found).calibration.noise


def test_coins_instead_of_probabilities_tell_the_same():
    found = svsim.info(without_probabilities(trace_of_the_law(1500)))
    assert found.information.acceptance == "coin" and found.information.paper == ()
    assert any("coins" in note for note in found.notes)
    gain = belief(found).gain_bits
    assert gain.value == pytest.approx(LAW.gain_bits, abs=4 * (gain.ci_high - gain.ci_low) / 3.92 + 1e-3)
    assert found.information.ceiling_bits.value == pytest.approx(found.information.entropy_bits.value)


def test_the_split_is_that_of_the_replay():
    trace = independent_trace(40, 2, seed=0)
    found = svsim.info(trace, profile_split=0.25, seed=3)
    mask = profile_mask(trace.request_ids, trace.tasks, 0.25, 3)
    assert found.information.num_profile_requests == mask.sum()
    assert found.information.num_profile_tokens == trace.num_output_tokens[mask].sum()
    assert found.information.num_judged_tokens == trace.num_output_tokens[~mask].sum()


def test_llama70b_passes_its_checks_and_meets_its_own_metadata():
    found = svsim.info(LLAMA)
    assert {c.passed for c in found.checks} == {True, None}
    measured = found.trace["extra"]["measured"]
    assert found.information.mean_acceptance.value == pytest.approx(measured["acceptance"], abs=0.02)
    paper = {(g.num_x_bins, g.cells): g.corrected_bits for g in found.information.paper}
    assert paper[10, "10x10"] == pytest.approx(measured["paper_gain_bits_x10_cells_10"], abs=1e-3)
    assert found.information.overlap_correlation.value == pytest.approx(0.73, abs=1e-3)
    assert found.course.autocorrelation[0].within == pytest.approx(measured["burstiness"], abs=2e-3)
    assert [d.expected_conditional for d in found.by_depth] == pytest.approx(
        measured["acceptance_by_depth"], abs=1e-3
    )
    assert found.deployment == "h100_sxm:tp=4"
    assert {s.batch_size for s in found.slow_steps} == {1, 8, 32, 64}
    assert found.notes == ()


def test_the_document_is_plain_json_without_nan():
    found = svsim.info(independent_trace(40, 3, seed=0))
    text = json.dumps(found.to_dict(), allow_nan=False)
    document = json.loads(text)
    assert document["svsim"] == svsim.__version__ and document["trace"]["acceptance_kind"] == "synthetic"
    assert document["sizes"]["num_requests"] == 40 and len(document["by_depth"]) == 3
    assert document["information"]["beliefs"][0]["gain_bits"].keys() == {"value", "ci_low", "ci_high"}


def test_same_seed_same_document():
    trace = independent_trace(40, 3, seed=0)
    one, two = (svsim.info(trace, jobs=jobs).to_dict() for jobs in (1, 2))
    assert one == two
    assert svsim.info(trace, seed=1).to_dict() != one


def test_slow_steps_are_those_of_a_simulated_batch():
    """Eight slots stepping through random requests: the share of slow steps, to four errors of its blocks."""
    trace, batch_size, k = independent_trace(60, 4, seed=7), 8, 3
    latency = SlowDraft(pad=1)
    found = {(s.k, s.batch_size): s for s in svsim.info(trace, latency=latency).slow_steps}[k, batch_size]
    least = batch_size * found.step_time_s / found.td_step_time_s
    rng, first = np.random.default_rng(0), trace.first_position
    request = rng.integers(60, size=batch_size)
    row = first[request].copy()
    slow = np.empty(20_000)
    for step in range(len(slow)):
        jump = np.minimum(np.minimum(trace.target.num_accepted[row], k) + 1, first[request + 1] - row)
        slow[step] = jump.sum() < least
        row += jump
        ended = row == first[request + 1]
        request = np.where(ended, rng.integers(60, size=batch_size), request)
        row = np.where(ended, first[request], row)
    blocks = slow.reshape(40, -1).mean(axis=1)
    assert found.slow_share == pytest.approx(slow.mean(), abs=4 * blocks.std() / np.sqrt(40))
    assert 0.02 < found.slow_share < 0.98


def test_without_step_times_there_are_no_slow_steps_and_a_note():
    found = svsim.info(independent_trace(20, 3))
    assert found.slow_steps == () and found.deployment is None
    assert any(note.startswith("no slow steps") for note in found.notes)


def test_step_times_asked_for_must_be_there():
    with pytest.raises(LatencyError):
        svsim.info(independent_trace(20, 3), hardware=["h100_sxm:tp=4"])


def test_a_drafter_without_step_times_is_an_error_when_asked_for(tmp_path):
    path = tmp_path / "linear.json"
    role = {"fixed_s": 0.01, "per_new_token_s": 1e-5, "per_kv_token_s": 1e-9}
    path.write_text(json.dumps({"kind": "linear", "target": role, "overhead_per_step_s": 0.001}))
    with pytest.raises(LatencyError):
        svsim.info(independent_trace(20, 3), latency=LinearLatency.from_file(path))


def test_one_request_is_described_without_information():
    found = svsim.info(independent_trace(1, 3))
    assert found.information is None and any("no information gain" in note for note in found.notes)
    assert found.fixed_lengths[0].mean_acceptance_length.ci_low is None


def test_an_import_of_lengths_alone():
    trace = without_probabilities(independent_trace(40, 4, signals=False))
    found = svsim.info(trace)
    assert found.information is None and found.by_depth[0].expected_conditional is None
    assert found.course.wrong_prefix_decay is None
    assert found.by_depth[0].conditional == pytest.approx((trace.target.num_accepted > 0).mean())


def test_specdecode_bench_chains_differ_in_about_one_pair_of_eight():
    trace = specdecode_bench_trace(shared("specdecode-bench", "gsm8k.jsonl"), "eagle")
    check = svsim.info(trace).checks[0]
    assert check.passed is None
    short = re.search(r"([\d.]+)% accept less", check.found)
    assert 10 < float(short[1]) < 15


def test_a_trace_too_long_for_memory_is_sampled_and_says_so(tmp_path, monkeypatch):
    trace = trace_of_the_law(300)
    save_trace(trace, tmp_path / "long.parquet")
    monkeypatch.setattr(sampling, "SAMPLE_POSITIONS", 4000)
    monkeypatch.setattr("svsim.inspection.inspect.sample_requests", sample_little)
    found = svsim.info(tmp_path / "long.parquet")
    assert found.sizes.num_requests == 300 and found.sizes.num_positions == 12_000
    assert found.sizes.num_read_positions < 6000
    assert found.by_depth[0].num_reached == found.sizes.num_read_positions
    assert any("sample of" in note for note in found.notes)


def sample_little(source):
    assert isinstance(source, FileSource | MemorySource)
    return sampling.sample_requests(source, max_positions=5000)


@pytest.mark.parametrize("split", [0.0, 1.0, -1.0, float("nan")])
def test_a_split_must_leave_both_parts(split):
    with pytest.raises(InputError, match="profile_split"):
        svsim.info(independent_trace(20, 3), profile_split=split)
