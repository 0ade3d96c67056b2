"""Placement and precision from ``--hardware`` to the rows: prices, memory, names, refusals."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from support.command_line import svsim_json, svsim_refuses, svsim_run
from support.small_traces import independent_trace

import svsim
from svsim.deployments import priced_hardware
from svsim.errors import InfeasibleError, InputError
from svsim.latency.shape import Role, StepShape
from svsim.trace.file import save_trace
from svsim.trace.parts import MemorySource
from svsim.trace.token_trace import TokenTrace

MODELS = {
    "target": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
    "draft": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
    "companion": {"name": "meta-llama/Llama-3.2-3B-Instruct"},
}
DEFAULT = "h100_sxm:tp=4"
REPLICATED = "h100_sxm:tp=4,draft=replicated,companion=replicated"


def step_times() -> dict[str, np.ndarray]:
    """Target at tp 4, draft at tp 1 and (slower) at tp 4, companion at tp 1 only; synthetic seconds."""
    rows = [
        (role, degree, b, b * q, b * 200, base + 1e-5 * b * q)
        for role, degree, base in (
            ("target", 4, 2e-2), ("draft", 1, 2e-3), ("draft", 4, 3e-3), ("companion", 1, 4e-3)
        )
        for b in (1, 2, 4, 8, 16, 32)
        for q in (1, 2, 4, 8, 9)
    ]  # fmt: skip
    roles, degrees, sequences, tokens, kv, seconds = zip(*rows, strict=True)
    return {
        "role": np.array(roles, object),
        "hardware": np.full(len(rows), "h100_sxm", object),
        "tensor_parallel": np.array(degrees, np.int32),
        "num_sequences": np.array(sequences, np.int32),
        "num_new_tokens": np.array(tokens, np.int32),
        "num_kv_tokens": np.array(kv, np.int64),
        "seconds": np.array(seconds, np.float64),
        "source": np.full(len(rows), "synthetic", object),
    }


@pytest.fixture(scope="module")
def trace() -> TokenTrace:
    made = independent_trace(130, 7, seed=3, prompt_tokens=(180, 200), output_tokens=(10, 30))
    return replace(made, metadata=replace(made.metadata, models=MODELS))


@pytest.fixture(scope="module")
def path(trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("deployments") / "t.parquet"
    save_trace(trace, path)
    return path


def seconds(
    trace, hardware: str, role: Role, sequences: int, queries: int, latency: str = "roofline"
) -> float:
    (priced,) = priced_hardware(MemorySource(trace), latency, [hardware], "extrapolate")
    return float(priced.latency.predict_s(StepShape(role, sequences, sequences * queries, sequences * 200)))


def test_a_replica_is_priced_as_its_slice(trace):
    for latency in ("roofline", "database"):
        slice_s = seconds(trace, DEFAULT, Role.DRAFT, 16, 1, latency)
        assert seconds(trace, REPLICATED, Role.DRAFT, 64, 1, latency) == pytest.approx(slice_s)
        assert seconds(trace, REPLICATED, Role.TARGET, 64, 8, latency) == seconds(
            trace, DEFAULT, Role.TARGET, 64, 8, latency
        )


def test_a_sharded_model_is_priced_at_tp(trace):
    """A 3B companion of 448 tokens on four GPUs: between a quarter of one GPU's time and all of it."""
    for latency in ("roofline", "database"):
        one = seconds(trace, DEFAULT, Role.COMPANION, 64, 7, latency)
        four = seconds(trace, "h100_sxm:tp=4,companion=sharded", Role.COMPANION, 64, 7, latency)
        assert one / 4 < four < one


def test_placements_of_a_table(trace):
    """Sharded rows where there are some, copies and single GPUs from the rows of one GPU."""
    measured = replace(trace, step_times=step_times())
    draft = {
        text: seconds(measured, f"h100_sxm{text}", Role.DRAFT, 32, 1, "trace")
        for text in ("", ":draft=one", ":draft=sharded", ":draft=replicated")
    }
    assert draft[""] == draft[":draft=sharded"] == pytest.approx(3e-3 + 32e-5, rel=0.02)
    assert draft[":draft=one"] == pytest.approx(2e-3 + 32e-5, rel=0.02)
    assert draft[":draft=replicated"] == pytest.approx(2e-3 + 8e-5, rel=0.02)


def test_a_table_refuses_what_it_does_not_hold(trace, tmp_path):
    path = tmp_path / "t.parquet"
    save_trace(replace(trace, step_times=step_times()), path)
    message = svsim_refuses("replay", path, "--batch", "8", "--hardware", "h100_sxm:companion=sharded")
    assert "companion=sharded needs step times of the companion on h100_sxm at tp=4" in message
    assert "there are tp=1" in message and "--latency database" in message
    message = svsim_refuses("replay", path, "--batch", "8", "--hardware", "h100_sxm:quant=fp8")
    assert "leave quant and kv out, or take --latency database or roofline" in message


@pytest.mark.parametrize("command", ["replay", "analytic"])
def test_placements_run_side_by_side_and_are_told_apart(path, command):
    asked = [word for name in (DEFAULT, REPLICATED, DEFAULT) for word in ("--hardware", name)]
    three = ["--method", "td", "--method", "sd", "--method", "sv"]
    run = [command, path, "--latency", "roofline", "--batch", "16", *three, *asked]
    result = svsim_json(*run)
    rows = {(r["hardware_options"], r["method"]): r for r in result["rows"]}
    assert len(rows) == len(result["rows"]) == 6  # the same deployment twice is one
    assert {(r["hardware"], r["tensor_parallel"]) for r in result["rows"]} == {("h100_sxm", 4)}
    options = "draft=replicated,companion=replicated"
    for method in ("sd", "sv"):
        one, four = rows[None, method], rows[options, method]
        assert four["draft_time_s"] < one["draft_time_s"]
        assert four["goodput_tok_s"] > one["goodput_tok_s"]
        for row in (one, four):  # each against its own baseline
            td = rows[row["hardware_options"], "td"]
            assert row["speedup_vs_td"] == pytest.approx(row["goodput_tok_s"] / td["goodput_tok_s"])
    assert result["config"]["deployments"] == [DEFAULT, REPLICATED]
    shown = svsim_run(*run).stdout
    assert REPLICATED in shown
    lines = list(csv.DictReader(io.StringIO(svsim_run(*run, "--csv", "-").stdout)))
    assert {line["hardware_options"] for line in lines} == {"", options}


def test_quantized_targets_are_priced_and_stored_as_such(path):
    asked = [word for q in ("", ",quant=fp8", ",quant=int8") for word in ("--hardware", f"h100_sxm:tp=2{q}")]
    run = ("replay", path, "--latency", "roofline", "--batch", "8,64", "--method", "td", *asked)
    rows = {(r["hardware_options"], r["batch_size"]): r for r in svsim_json(*run)["rows"]}
    gain = rows["quant=fp8", 8]["goodput_tok_s"] / rows[None, 8]["goodput_tok_s"]
    assert 1.4 < gain < 2.0  # half the weight bytes; attention, logits and overheads stay
    assert rows["quant=int8", 8]["goodput_tok_s"] == rows["quant=fp8", 8]["goodput_tok_s"]  # the same peaks
    message = svsim_refuses(*run, "--hardware", "a100_sxm:tp=4,quant=fp8")
    assert "a100_sxm has no fp8 matrix units; it has bf16, int8" in message
    assert "the closest GPU with fp8 is h100_sxm" in message


@pytest.mark.parametrize("engine", [svsim.replay, svsim.analytic])
def test_gpu_memory_utilization_decides_what_fits(trace, engine):
    def fits(**share):
        table = engine(
            trace,
            latency="roofline",
            hardware=["h100_sxm:tp=2"],
            methods=["td"],
            batch_sizes=[1, 64],
            **share,
        )
        return [row.fits_memory for row in table.rows]

    # per GPU: 70.6 GB of weights and 1.4 GB of activations; 64 sequences take 2.3 GB
    assert fits() == fits(gpu_memory_utilization=0.9) == [True, True]
    assert fits(gpu_memory_utilization=0.86) == [True, False]
    with pytest.raises(InfeasibleError, match=r"GB usable of one GPU \(80%\)"):
        fits(gpu_memory_utilization=0.8)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match=f"`gpu_memory_utilization` {share:g} is out of range"):
            fits(gpu_memory_utilization=share)


def test_gpu_memory_utilization_on_the_command_line(path):
    run = ("replay", path, "--latency", "roofline", "--batch", "1,64", "--hardware", "h100_sxm:tp=2")
    result = svsim_json(*run, "--method", "td", "--gpu-memory-utilization", "0.86")
    assert [row["fits_memory"] for row in result["rows"]] == [True, False]
    assert result["config"]["gpu_memory_utilization"] == 0.86
