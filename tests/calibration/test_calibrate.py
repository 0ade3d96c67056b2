"""Calibration on the CPU with a tiny model: what is timed, written, refused; the GPU's path with fakes."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.fake_cuda import FakeGraph, fake_gpu_timer

from svsim.calibration.calibrate import calibrate
from svsim.calibration.decoder import RandomDecoder, shard
from svsim.calibration.device_timer import ClockLog, DeviceTimer
from svsim.calibration.held_out import held_out_layouts, judge
from svsim.calibration.overlap import beside, measure_overlap, works
from svsim.calibration.pass_grid import calibration_layouts
from svsim.calibration.pass_layout import PassLayout
from svsim.calibration.pass_memory import cache_tokens, free_bytes, plan_memory
from svsim.calibration.sampling_work import sampling_work
from svsim.calibration.settings import CalibrationSettings
from svsim.calibration.step_time_file import combine_tables, read_notes, write_step_times
from svsim.calibration.timed_pass import pass_stages
from svsim.errors import InfeasibleError, InputError, LatencyError
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.measured import MeasuredLatency, read_step_times
from svsim.latency.shape import Role, StepShape
from svsim.progress import Progress

__all__ = ["fake_gpu_timer"]
TINY = ModelGeometry("tiny", 2, 32, 4, 2, 8, 48, 61)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder with the config.json of a tiny model."""
    folder = tmp_path_factory.mktemp("tiny")
    values = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    (folder / "config.json").write_text(json.dumps({**values, "intermediate_size": 48, "vocab_size": 97}))
    return str(folder)


def settings_for(config: str, out: Path, **changes: Any) -> CalibrationSettings:
    base = CalibrationSettings(
        out,
        target=config,
        num_speculative_tokens=4,
        num_sequences=(1, 4),
        contexts=(8, 32),
        num_repeats=3,
        device="cpu",
    )
    return replace(base, **changes)


def test_table_of_three_models(config: str, tmp_path: Path) -> None:
    out = tmp_path / "times.parquet"
    seen: list[Progress] = []
    settings = settings_for(config, out, draft=config, companion=config, num_held_out=6, command="a command")
    report = calibrate(settings, seen.append)
    table = pq.read_table(out).to_pandas()
    assert len(table) == report.num_rows == sum(r.num_shapes for r in report.roles.values())
    assert set(table.role) == {"target", "draft", "companion"}
    assert (
        (table.seconds > 0).all()
        and (table.p10_s <= table.seconds).all()
        and (table.seconds <= table.p90_s).all()
    )
    parts = table[["forward_s", "logits_s", "sampling_s"]].to_numpy()
    assert (parts > 0).all()
    # medians of the parts add up to the median of the sum, but for their own noise
    assert np.median(parts.sum(1) / table.seconds) == pytest.approx(1, abs=0.1)
    target = table[table.role == "target"]
    assert {1, 2, 3, 4, 5} <= set(target[target.num_sequences == 1].num_new_tokens)
    assert (target.num_new_tokens <= target.num_padded_tokens).all()
    notes = read_notes(out)
    assert (notes["hardware"], notes["command"], notes["graphs"]) == ("cpu", "a command", False)
    assert notes["roles"]["target"]["held_out"]["num_shapes"] == 6
    model = MeasuredLatency.from_file(out)
    assert len(model.roles) == 3
    assert model.predict_s(StepShape(Role.TARGET, 2, 6, 40)) > 0
    assert seen[-1].done == seen[-1].total


def test_subset_of_layers_is_scaled_up(config: str, tmp_path: Path) -> None:
    out = tmp_path / "times.parquet"
    report = calibrate(settings_for(config, out, num_layers=1, checked_layers=1)).roles["target"]
    assert (report.num_layers, report.num_layers_timed) == (3, 1)
    assert set(report.layer_scaling_error or {}) == {"1x1", "1x5", "4x1", "4x5"}
    assert set(read_step_times(out)["source"]) == {"measured, layers scaled"}


def test_mixture_of_experts(tmp_path: Path) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 5000}
    mixture = {"intermediate_size": 512, "moe_intermediate_size": 16}
    mixture |= {"num_experts": 32, "num_experts_per_tok": 4}
    (tmp_path / "config.json").write_text(json.dumps(config | mixture))
    out = tmp_path / "times.parquet"
    report = calibrate(settings_for(str(tmp_path), out, tensor_parallel=2, num_layers=3)).roles["target"]
    touched = {row.num_tokens: row for row in report.experts_touched or ()}
    assert set(touched) == {1, 2, 4, 8, 16, 24} and touched[1].measured == touched[1].expected == 4
    assert touched[24].measured == pytest.approx(touched[24].expected, rel=0.1)
    assert read_notes(out)["roles"]["target"]["experts_touched"][0]["num_tokens"] == 1
    assert MeasuredLatency.from_file(out).predict_s(StepShape(Role.TARGET, 2, 6, 40)) > 0


def test_shard_is_labelled(config: str, tmp_path: Path) -> None:
    out = tmp_path / "times.parquet"
    calibrate(settings_for(config, out, tensor_parallel=2))
    columns = read_step_times(out)
    assert set(columns["tensor_parallel"]) == {2}
    assert set(columns["source"]) == {"measured shard, no all-reduce"}
    assert read_notes(out)["all_reduce"] == "not included"


def test_time_budget_leaves_out_the_rest_and_says_so(config: str, tmp_path: Path) -> None:
    out = tmp_path / "times.parquet"
    # the grid takes several seconds: the buffer that clears the caches alone is read 900 times
    for seconds in (1.0, 2.0, 4.0, 8.0):  # a machine in a slow spell times no pass at all in the least
        settings = settings_for(
            config, out, num_sequences=(1, 2, 4, 8, 16, 32, 64), seconds_per_model=seconds
        )
        with suppress(InfeasibleError):
            report = calibrate(settings).roles["target"]
            break
    assert report.num_skipped_for_time > 0 and report.num_shapes > 0
    with pytest.raises(InfeasibleError, match="no pass could be timed in 1e-09 s"):
        calibrate(settings_for(config, out, seconds_per_model=1e-9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "no-such-model"}, "no preset for model no-such-model"),
        ({"target": None}, "no model to calibrate"),
        ({"contexts": (0, 8)}, r"contexts = \(0, 8\); expected numbers of at least 1"),
        ({"num_repeats": 0}, "num_repeats = 0; expected at least 1"),
        ({"num_held_out": -1}, "num_held_out = -1; expected 0 or more"),
        ({"out": Path("/no/such/folder/x.parquet")}, "its folder does not exist"),
    ],
)
def test_bad_input(config: str, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, LatencyError), match=message) as caught:
        calibrate(replace(settings_for(config, tmp_path / "times.parquet"), **changes))
    assert "\n" not in str(caught.value)


def test_no_gpu_is_an_error_unless_the_cpu_is_asked_for(config: str, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match="no CUDA device found"):
        calibrate(settings_for(config, tmp_path / "times.parquet", device="cuda"))


def test_grid_holds_both_sides_of_every_stair() -> None:
    for role in (Role.COMPANION, Role.TARGET):
        layouts = calibration_layouts(role, (1, 2, 4, 8, 16, 32, 64), (128, 1024, 4096), 8)
        assert len(layouts) == len(set(layouts))
        totals = {layout.total_tokens for layout in layouts if layout.context == 1024}
        for edge in (1, 2, 4, 8, 16, 64, 128, 256, 272, 512):
            assert {edge, edge + 1} <= totals, edge
        assert 544 in totals
    for layout in layouts:
        assert layout.is_prompt or (1 <= layout.longest <= 9 and layout.total_tokens <= 64 * 9)
    for batch in (1, 8, 64):
        each = {
            x.longest for x in layouts if x.num_sequences == batch and x.total_tokens == batch * x.longest
        }
        assert set(range(1, 10)) <= each
    assert {1, 2} == {x.longest for x in calibration_layouts(Role.DRAFT, (1, 8), (64,), 8) if not x.is_prompt}


def test_memory_plans_of_large_models() -> None:
    def plan(model: str, degree: int, gib: float) -> tuple[int, int, int]:
        part = shard(model_geometry(model), degree)
        grid = calibration_layouts(Role.TARGET, (1, 2, 4, 8, 16, 32, 64, 128), (128, 1024, 4096), 8)
        found = plan_memory(part, part.num_layers, grid, int(gib * 2**30))
        layer = 2 * (part.attention_weights_per_layer + part.mlp_weights_per_layer)
        cache = 4 * part.num_kv_heads * part.head_size * max(map(cache_tokens, found.layouts))
        assert found.num_layers * (layer + cache) < 0.85 * gib * 2**30
        return found.num_layers, len(found.layouts), len(grid)

    num_layers, kept, asked = plan("llama-3.1-8b", 1, 139)
    assert (num_layers, kept) == (32, asked), "everything fits"
    assert plan("llama-3.1-70b", 4, 139)[0] == 80
    num_layers, kept, _ = plan("llama-3.1-70b", 1, 139)
    assert 20 <= num_layers < 80 and kept > 200
    num_layers, kept, asked = plan("llama-2-13b", 1, 139)
    assert num_layers == 40 and 150 < kept < asked, "the largest caches of a multi-head model are dropped"
    with pytest.raises(InfeasibleError, match=r"not even one layer and its cache fit into 2\.0 GiB"):
        plan("llama-3.1-70b", 1, 2)


def test_free_memory_of_the_host(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       1000 kB\nMemAvailable:    700 kB\n")
    assert free_bytes(torch.device("cpu"), meminfo) == 700 * 1024
    meminfo.write_text("something else\n")
    assert free_bytes(torch.device("cpu"), meminfo) is None
    assert free_bytes(torch.device("cpu"), tmp_path / "nowhere") is None


def test_too_little_memory_is_one_line(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svsim.calibration.calibrate.free_bytes", lambda _: 1000)
    with pytest.raises(InfeasibleError, match="not even one layer and its cache fit") as caught:
        calibrate(settings_for(config, tmp_path / "times.parquet"))
    assert "\n" not in str(caught.value)


def test_held_out_shapes_are_new_and_inside() -> None:
    grid = calibration_layouts(Role.TARGET, (1, 4, 16), (64, 1024), 8)
    layouts = held_out_layouts(grid, 20, seed=1)
    assert len(layouts) == 20 and not set(layouts) & set(grid)
    assert all(64 <= x.context <= 1024 and x.num_sequences <= 16 for x in layouts)
    assert len({(x.num_sequences, x.context) for x in layouts[:10]}) == 1


def test_judging_a_table_by_a_known_law() -> None:
    def rows(layouts: list[PassLayout], scale: float) -> list[dict[str, Any]]:
        return [
            {
                "role": "target",
                "hardware": "synthetic",
                "tensor_parallel": 1,
                "num_sequences": x.num_sequences,
                "num_new_tokens": x.total_tokens,
                "num_kv_tokens": x.num_kv_tokens,
                "seconds": scale * (1e-2 + 2e-5 * x.total_tokens + 1e-8 * x.num_kv_tokens),
            }
            for x in layouts
        ]

    grid = calibration_layouts(Role.TARGET, (1, 2, 4, 8, 16, 32, 64), (128, 1024, 4096), 8)
    held_out = held_out_layouts(grid, 24, seed=0)
    exact = judge(rows(grid, 1.0), rows(held_out, 1.0))
    assert exact.median_error < 0.005 and abs(exact.slope_error or 0) < 0.02
    scaled = judge(rows(grid, 1.1), rows(held_out, 1.0))
    assert scaled.median_error == pytest.approx(0.1, abs=0.01)
    assert scaled.slope_error == pytest.approx(0.1, abs=0.02)


def test_tables_combine(config: str, tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet"))
    calibrate(settings_for(config, first, num_sequences=(1,), contexts=(8,)))
    calibrate(settings_for(config, second, target=None, draft=config, num_sequences=(1,), contexts=(8,)))
    combine_tables(out, [first, second])
    assert MeasuredLatency.from_file(out).roles == {Role.TARGET, Role.DRAFT}
    assert len(read_notes(out)["parts"]) == 2
    with pytest.raises(InputError, match="cannot be written"):
        write_step_times(tmp_path / "no" / "x.parquet", [], {})


@pytest.mark.parametrize("role", list(Role))
def test_sampling_work_samples_the_logits(role: Role) -> None:
    # one token has all the probability: the target accepts or recovers it, the draft draws it
    logits = torch.full((6, 40), -20.0)
    logits[:, 7] = 20.0
    found = sampling_work(role, 2, 6, 40, torch.device("cpu"))(logits)
    if role is Role.COMPANION:
        assert found.shape == (6,) and ((found > 0) & (found <= 2)).all()
    elif role is Role.TARGET:
        assert found.shape == (4,) and (found == 7).all()
    else:
        assert found.shape == (6,) and (found == 7).all()


def test_gpu_timing_with_fakes(fake_gpu_timer: DeviceTimer) -> None:
    ran: list[int] = []
    times = fake_gpu_timer.time([lambda: ran.append(0), lambda: ran.append(1)], num_repeats=4).seconds
    assert times.shape == (4, 2) and (times > 0).all()
    # two warm-ups and the capture of each; replays: one after capture, one unmeasured round, four measured
    assert ran == [0, 0, 0, 1, 1, 1]
    assert FakeGraph.num_replays == 2 * (1 + 1 + 4)


def test_overlap_with_fakes(fake_gpu_timer: DeviceTimer) -> None:
    decoders = {
        role.value: RandomDecoder(TINY, 2, 200, device=torch.device("cpu"), dtype=torch.float32)
        for role in Role
    }
    verify, speculate = works(decoders, num_sequences=2, num_speculative_tokens=3, context=10)
    verify()
    speculate()
    graph = fake_gpu_timer.capture(verify)
    FakeGraph.num_replays = 0
    assert beside(fake_gpu_timer, graph, graph, 5, num_repeats=3) > 0
    assert FakeGraph.num_replays == 4 * (5 + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draft": None, "device": "cuda"}, "overlap needs a target, a draft and a companion"),
        ({}, "two streams of a GPU; choose the device cuda, or leave overlap out"),
        ({"overlap_batches": (4, 0), "device": "cuda"}, r"overlap_batches = \(4, 0\); expected numbers"),
    ],
)
def test_overlap_that_cannot_be(config: str, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    three = {"draft": config, "companion": config, "overlap_batches": (1,)}
    with pytest.raises(InputError, match=message):
        settings_for(config, tmp_path / "x", **{**three, **changes})


def test_calibration_with_overlap_on_a_fake_gpu(
    fake_gpu_timer: DeviceTimer, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = settings_for(config, tmp_path / "x", draft=config, companion=config, num_layers=1)
    settings = replace(on_cpu, device="cuda", dtype="float32", overlap_batches=(1, 4))
    monkeypatch.setattr("svsim.calibration.overlap.torch_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr("svsim.calibration.device_timer.DeviceTimer", lambda *_, **__: fake_gpu_timer)
    rows = measure_overlap(settings)
    assert [(row.num_sequences, row.num_speculative_tokens, row.context) for row in rows] == [
        (1, 4, 32),
        (4, 4, 32),
    ]
    assert {row.num_target_layers_timed for row in rows} == {1}
    assert all(min(row.verify_alone_s, row.speculate_beside_s) > 0 for row in rows)

    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("svsim.calibration.decoder.RandomDecoder.__init__", full)
    with pytest.raises(InfeasibleError, match="out of memory with all three models and 4 sequences of 32"):
        measure_overlap(settings)


def test_stages_hand_their_results_on() -> None:
    decoder = RandomDecoder(TINY, 2, 200, device=torch.device("cpu"), dtype=torch.float32)
    layout = PassLayout.spread(2, 6, 10)
    indices = decoder.prepare(layout)
    for role, rows in ((Role.TARGET, [0, 1, 2, 3, 4, 5]), (Role.DRAFT, [2, 5])):
        stages = pass_stages(decoder, layout, role)
        for stage in stages:
            stage()
        left = stages[0].__closure__
        assert left is not None
        found = next(cell.cell_contents for cell in left if isinstance(cell.cell_contents, dict))
        hidden = decoder.forward(layout, indices)
        torch.testing.assert_close(found["logits"], decoder.logits(hidden, torch.tensor(rows)))


def test_clock_log_without_a_gpu_is_empty() -> None:
    log = ClockLog(torch.device("cpu"))
    log.sample()
    assert log.summary() is None


def test_clock_log_reads_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["1980, 3201, 41, 250.5\n", "1755, 3201, 60, 690.0\n"])

    class Result:
        stdout = ""

    def run(*_: object, **__: object) -> Result:
        result = Result()
        result.stdout = next(lines)
        return result

    monkeypatch.setattr("svsim.calibration.device_timer.subprocess.run", run)
    log = ClockLog(torch.device("cuda"), interval_s=0)
    log.sample()
    log.sample()
    summary = log.summary()
    assert summary is not None
    assert summary["sm_clock_mhz"] == {"min": 1755, "median": 1867.5, "max": 1980}
    assert summary["power_w"]["max"] == 690
