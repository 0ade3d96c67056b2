"""traces/make_llama70b.py: the same bytes twice, honest figures, and the committed file is what it writes."""

import importlib.util
import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.synthetic.settings import TOLERANCES
from svsim.trace import measurement as observed
from svsim.trace.file import TraceReader, load_trace

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "traces" / "llama70b.parquet"
SHARED = Path(os.environ.get("SVSIM_SHARED_DATA", ROOT.parent / "shared" / "data")) / "specdecode-bench"


def load_script():
    spec = importlib.util.spec_from_file_location("make_llama70b", ROOT / "traces" / "make_llama70b.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.fixture(autouse=True)
def no_clock(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


def test_a_tiny_version_has_the_same_bytes_twice(tmp_path, capsys):
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for path in paths:
        SCRIPT.main(["--out", str(path), "--num-requests", "8"])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert "8 requests" in capsys.readouterr().out


def test_greedy_acceptance_follows_from_the_published_rows():
    """nano-PEARL's own tokens between rejections, 1/(1 - a), say nearly the same."""
    for name in ("pearl_aime", "pearl_cnndm", "pearl_humaneval"):
        figure = SCRIPT.PUBLISHED[name]
        assert SCRIPT.pearl_acceptance(figure) == pytest.approx(1 - 1 / figure.values["mat"], abs=0.01)
    assert SCRIPT.length_acceptance(1 + 0.7 + 0.49 + 0.343, 3) == pytest.approx(0.7)
    assert -0.25 < SCRIPT.sampling_shift() < -0.1


def test_the_committed_trace_says_what_it_is():
    trace = load_trace(COMMITTED)
    assert trace.num_requests >= 512 and trace.num_positions >= 100_000
    assert trace.num_speculative_tokens == 8
    assert COMMITTED.stat().st_size < 8 << 20
    assert trace.metadata.acceptance_kind == "reconstructed" and trace.metadata.chains == "coherent"
    assert trace.metadata.sampling == {"greedy": False, "temperature": 0.6, "top_p": 0.9}
    assert "assumption" in trace.metadata.extra["notice"]
    for figure in trace.metadata.extra["published"].values():
        assert "arXiv" in figure["source"] or "repository" in figure["source"]
    for model in trace.metadata.models.values():
        shape = ModelGeometry.from_config(model["geometry"], model["name"])
        assert shape.num_layers == model_geometry(model["name"]).num_layers
    assert {"target", "draft", "companion"} <= set(trace.step_times["role"])
    assert "h100_sxm" in trace.step_times["hardware"]


def test_the_committed_trace_measures_as_it_says_and_as_was_asked():
    trace = load_trace(COMMITTED)
    seen, said = observed.measure(trace), trace.metadata.extra["measured"]
    settings = SCRIPT.llama70b_settings(trace.num_requests)
    assert seen.paper_gain_bits == pytest.approx(said["paper_gain_bits"], abs=1e-3)  # float16 in the file
    assert seen.information_gain_bits == pytest.approx(said["information_gain_bits"], abs=2e-3)
    assert seen.acceptance_by_depth == pytest.approx(said["acceptance_by_depth"], abs=1e-3)
    assert seen.paper_gain_bits == pytest.approx(0.22, abs=0.005)
    assert seen.overlap_correlation == pytest.approx(0.73, abs=0.005)
    for task in settings.tasks:
        asked, got = task.acceptance, seen.acceptance_by_task[task.name]
        assert got == pytest.approx(asked, abs=TOLERANCES["acceptance"])
    for name in ("request_spread", "burstiness", "drift", "wrong_prefix_decay"):
        assert getattr(seen, name) == pytest.approx(getattr(settings, name), abs=TOLERANCES[name])


@pytest.mark.slow
def test_the_committed_trace_is_what_the_script_writes(tmp_path):
    recorded = TraceReader(COMMITTED).metadata.software
    differing = [name for name, value in recorded.items() if version(name) != value]
    if differing:
        pytest.skip(f"other versions than the committed trace was made with: {', '.join(differing)}")
    SCRIPT.main(["--out", str(tmp_path / "again.parquet")])
    assert (tmp_path / "again.parquet").read_bytes() == COMMITTED.read_bytes()


def depth_one_acceptance(file):
    """(accepted 0/1 per position, first_position, prompt tokens, output tokens) of EAGLE."""
    accepted, prompts, outputs = [], [], []
    for line in file.read_text().splitlines():
        request = json.loads(line)
        accepted.append(np.array(request["acc_eagle"]["acc_len"]) > 1)
        prompts.append(len(request["prompt_token_ids"]))
        outputs.append(len(request["generated_token_ids"]))
    first = np.concatenate([[0], np.cumsum([len(a) for a in accepted])])
    return np.concatenate(accepted).astype(float), first, np.array(prompts), np.array(outputs)


@pytest.mark.skipif(not SHARED.exists(), reason=f"SpecDecode-Bench data is not at {SHARED}")
def test_the_figures_measured_on_specdecode_bench():
    courses = []
    for name, figure in (("gsm8k", "math_lengths"), ("cnn", "summarization_lengths")):
        a, first, prompts, outputs = depth_one_acceptance(SHARED / f"{name}.jsonl")
        between = observed.between_request_variance(a - a.mean(), first)
        bursts = observed.burstiness(a - a.mean(), first, between)
        courses.append((np.sqrt(between), bursts, observed.slope_along_output(a, first)))
        lengths = SCRIPT.PUBLISHED[figure].values
        for part, tokens in (("prompt", prompts), ("output", outputs)):
            assert tokens.mean() == pytest.approx(lengths[part], abs=0.6)
            assert tokens.std() / tokens.mean() == pytest.approx(lengths[f"{part}_variation"], abs=0.006)
    spread, bursts, drift = np.mean(courses, axis=0)
    figure = SCRIPT.PUBLISHED["course_of_acceptance"].values
    assert spread == pytest.approx(figure["request_spread"], abs=0.001)
    assert bursts == pytest.approx(figure["burstiness"], abs=0.005)
    assert drift == pytest.approx(figure["drift"], abs=0.005)
