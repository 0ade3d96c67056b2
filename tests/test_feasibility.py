"""Rows that do not fit in memory say so; exit 3 only if none fits."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_refuses
from support.small_traces import independent_trace

from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.settings import RunSettings, prepare
from svsim.feasibility import MemoryFit
from svsim.latency.draft_heads import draft_head
from svsim.latency.geometry import model_geometry
from svsim.latency.roofline import RooflineLatency
from svsim.trace.file import TraceReader, save_trace
from svsim.trace.parts import FileSource

MODELS = {
    "target": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
    "draft": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "companion": {"name": "meta-llama/Llama-3.2-3B-Instruct"},
}


NAMES = [model["name"] for model in MODELS.values()]


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Prompts of 1000 to 3000 tokens."""
    path = tmp_path_factory.mktemp("memory") / "long.parquet"
    made = independent_trace(140, 7, seed=3, prompt_tokens=(1000, 3000))
    save_trace(replace(made, metadata=replace(made.metadata, models=MODELS)), path)
    return path


def run(trace, *hardware: str, batch: str = "1,16,64"):
    asked = [word for name in hardware for word in ("--hardware", name)]
    return ["replay", trace, "--latency", "roofline", "--batch", batch, *asked]


def test_rows_that_do_not_fit_have_no_goodput_and_are_no_baseline(trace):
    result = svsim_json(*run(trace, "h100_sxm:tp=2", "h100_sxm:tp=4"))
    by = {(r["tensor_parallel"], r["method"], r["batch_size"]): r for r in result["rows"]}
    assert all(r["fits_memory"] for key, r in by.items() if key[0] == 4 and key[2] <= 16)
    # per GPU: 77.3 usable - 70.6 (target) - 1.4 (activations), a sequence takes about 0.34 GB of KV
    assert by[2, "td", 1]["fits_memory"] and by[2, "td", 1]["goodput_tok_s"] > 0
    assert not by[2, "td", 64]["fits_memory"]
    assert not by[2, "sv", 1]["fits_memory"]  # draft and companion: 8.9 GB more
    for row in by.values():
        if not row["fits_memory"]:
            names = [n for n in row if n.startswith(("goodput", "speedup")) or n.endswith("_s")]
            assert all(row[n] is None for n in (*names, "sd_baseline"))
            assert row["mean_acceptance_length"] >= 1
        assert (
            row["sd_baseline"] is None or by[row["tensor_parallel"], "sd", row["batch_size"]]["fits_memory"]
        )
    assert "h100_sxm:tp=2, sv:k=7: no batch fits in memory" in result["notes"]


def test_nothing_fits_is_exit_3_and_names_the_largest_batch(trace):
    message = svsim_refuses(*run(trace, "h100_sxm:tp=1"), code=3)
    assert "weights take 141.1 GB of the 77.3 GB usable" in message and "no batch fits" in message
    message = svsim_refuses(*run(trace, "h100_sxm:tp=2", batch="64"), code=3)
    assert "the largest batch that fits is" in message


def test_one_that_fits_is_enough(trace):
    rows = svsim_json(*run(trace, "h100_sxm:tp=1", "h200_sxm:tp=4"))["rows"]
    assert {r["fits_memory"] for r in rows if r["tensor_parallel"] == 1} == {False}
    assert {r["fits_memory"] for r in rows if r["tensor_parallel"] == 4} == {True}


def test_unknown_models_or_hardware_are_null(trace, tmp_path):
    save_trace(independent_trace(40, 7, seed=3), tmp_path / "t.parquet")
    linear = tmp_path / "line.json"
    one = {"fixed_s": 1, "per_new_token_s": 0, "per_kv_token_s": 0}
    about = {"kind": "linear", "draft_is_one_pass": False, "overhead_per_step_s": 0}
    linear.write_text(json.dumps(about | {"target": one, "draft": one}))
    rows = svsim_json("replay", tmp_path / "t.parquet", "--latency", linear, "--method", "sd:k=3")["rows"]
    assert {r["fits_memory"] for r in rows} == {None}


def test_dollars_and_joules_are_those_of_all_gpus(trace, tmp_path):
    prices = tmp_path / "prices.json"
    prices.write_text('{"usd_per_gpu_hour": {"h100_sxm": [3.6, "us"]}, "sources": {"us": {"title": "ours"}}}')
    rows = svsim_json(*run(trace, "h100_sxm:tp=4", "l40s:tp=8", batch="8"), "--prices", prices)["rows"]
    for row in rows:
        goodput, gpus = row["goodput_tok_s"], row["tensor_parallel"]
        watts = {"h100_sxm": 700, "l40s": 350}[row["hardware"]]
        assert row["joules_per_million_tokens"] == pytest.approx(gpus * watts / goodput * 1e6)
        if row["hardware"] == "l40s":
            assert row["usd_per_million_tokens"] is None  # not in this list
        else:
            assert row["usd_per_million_tokens"] == pytest.approx(gpus * 3.6 / 3600 / goodput * 1e6)


@pytest.mark.parametrize("streamed", [False, True])
def test_context_moments_are_those_of_all_positions(trace, streamed, monkeypatch):
    from svsim.trace import parts
    from svsim.trace.file import TraceReader

    made = independent_trace(140, 7, seed=3, prompt_tokens=(1000, 3000))
    if streamed:
        monkeypatch.setattr(parts, "IN_MEMORY_POSITIONS", 1)
        monkeypatch.setattr(parts, "CHUNK_POSITIONS", 500)
    source = parts.FileSource(TraceReader(trace))
    _, part = source.split(0.0, 0, parts.Needed((), ()))
    assert part.in_memory is not streamed
    lengths = zip(made.num_prompt_tokens, made.num_output_tokens, strict=True)
    contexts = np.concatenate([prompt + np.arange(output) for prompt, output in lengths])
    assert part.context_mean == pytest.approx(contexts.mean())
    assert part.context_deviation == pytest.approx(contexts.std())
    assert part.context_range == (contexts.min(), contexts.max())


def test_two_whole_micro_batches_hold_twice_the_sequences(trace):
    """Overlap by halves needs the memory of the batch, two whole micro-batches that of twice the batch."""
    methods = ("sv:k=7", "sv:k=7,overlap=half", "sv:k=7,overlap=full")
    asked = [word for text in methods for word in ("--method", text)]
    tight = ("--gpu-memory-utilization", "0.65")
    notes = svsim_json(*run(trace, "h100_sxm:tp=4", batch="2,64"), *asked, *tight)["notes"]
    largest = {}
    for note in notes:
        if "do not fit" in note:
            label = note.removeprefix("h100_sxm:tp=4, ").partition(": batches above ")
            largest[label[0]] = int(label[2].split()[0])
    serial, half, full = (largest[text] for text in methods)
    assert serial == half and full == serial // 2 > 0


def test_a_head_is_held_by_its_own_shape_and_an_ngram_by_none(trace):
    """Beside td: a draft model of 1.5 B weights, an EAGLE head of about 1 B, nothing for copied tokens."""
    source = FileSource(TraceReader(trace))
    drafted = [
        parse_method("sd:k=5").with_drafter(drafter_named(name)) for name in ("model", "eagle", "ngram")
    ]
    deployment = Deployment(RooflineLatency.of("h100_sxm", 2, *map(model_geometry, NAMES)))
    largest = []
    for method in (parse_method("td"), *drafted):
        prepared = prepare(source, RunSettings((method,), (1,)), [deployment])
        (batches,) = MemoryFit.of(prepared).batches.values()
        largest.append(batches.largest)
    alone, with_model, with_head, with_ngram = largest
    assert with_model < with_head < with_ngram <= alone
    head = draft_head("eagle", model_geometry(NAMES[0]))
    assert head.weight_bytes == pytest.approx(2 * 1.0e9, rel=0.1)
