"""The table's shapes timed again: which are chosen, and what is made of their seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_cuda import FakeGraph, fake_gpu_timer  # noqa: F401
from support.small_traces import independent_trace

from svsim.calibration.decoder import RandomDecoder
from svsim.calibration.device_timer import DeviceTimer
from svsim.latency.geometry import ModelGeometry
from svsim.latency.measured import MeasuredLatency, read_step_times
from svsim.latency.shape import Role
from svsim.trace.parts import MemorySource, Needed
from svsim.validation.hardware_in_the_loop import LoopSettings, hardware_in_the_loop
from svsim.validation.loop_report import Retest, retest_summary, scale_by_role
from svsim.validation.loop_table import calibrate_for, usual_batch_sizes, usual_methods
from svsim.validation.retest import MAX_SHAPES, Retester

TINY = ModelGeometry("tiny", 2, 32, 4, 2, 8, 48, 61)
SOURCE = MemorySource(independent_trace(40, 7, seed=2))


def table(**changed: Any) -> dict[str, np.ndarray]:
    """Target rows of batch 1 and 4, of 1 to 8 tokens each, at three contexts; one ragged, one prompt."""
    shapes = [(b, b * q, b * c, q) for b in (1, 4) for q in range(1, 9) for c in (16, 64, 256)]
    shapes += [(4, 20, 4 * 64, 9), (4, 4 * 40, 0, 40)]
    sequences, tokens, kv, longest = (np.array(column) for column in zip(*shapes, strict=True))
    columns = {
        "role": np.full(len(shapes), "target", object),
        "tensor_parallel": np.ones(len(shapes), int),
        "num_sequences": sequences,
        "num_new_tokens": tokens,
        "num_kv_tokens": kv,
        "longest_query": longest,
        "seconds": np.arange(1.0, len(shapes) + 1),
    }
    return {**columns, **changed}


def retester(columns: dict[str, np.ndarray], max_cache_tokens: int = 2000) -> Retester:
    decoder = RandomDecoder(TINY, 2, max_cache_tokens, device=torch.device("cpu"), dtype=torch.float32)
    return Retester(columns, {Role.TARGET: decoder}, DeviceTimer(torch.device("cpu"), 4), 6, max_cache_tokens)


def test_rows_are_of_the_batch_size_at_the_nearest_context_and_spread_over_tokens() -> None:
    chosen = retester(table()).choose(4, 70.0)
    assert len(chosen) == MAX_SHAPES
    assert [(r.num_sequences, r.num_kv_tokens) for r in chosen] == [(4, 256)] * MAX_SHAPES
    assert [r.num_new_tokens for r in chosen] == [4, 20, 32]
    assert all(r.table_s > 0 and np.isnan(r.again_s) for r in chosen)


def test_what_cannot_be_timed_as_it_was_is_not_chosen() -> None:
    assert retester(table()).choose(3, 70.0) == []
    shards = table(tensor_parallel=np.full(50, 4))
    assert retester(shards).choose(4, 70.0) == []
    # 256 tokens of context do not fit, 64 do
    assert {r.num_kv_tokens for r in retester(table(), 400).choose(4, 250.0)} == {256}


def test_half_of_the_repeats() -> None:
    one = retester(table())
    seconds = one.seconds(one.choose(1, 16.0)[0])
    assert seconds.shape == (3,) and (seconds > 0).all()


def test_on_a_gpu_the_stages_are_replayed_as_graphs(fake_gpu_timer: Any) -> None:  # noqa: F811
    one = retester(table())
    one.timer = fake_gpu_timer
    before = FakeGraph.num_replays
    assert one.seconds(one.choose(1, 16.0)[0]).shape == (3,)
    # forward, logits and sampling: once as they are captured, once to warm up, three times timed
    assert FakeGraph.num_replays - before == 3 * (1 + 1 + 3)


def test_scales_and_summary() -> None:
    rows = [
        Retest(Role.TARGET, 4, 4, 64, 1.0, 1.2),
        Retest(Role.TARGET, 4, 8, 64, 1.0, 1.0),
        Retest(Role.DRAFT, 4, 4, 64, 2.0, 1.0),
    ]
    assert scale_by_role(rows) == pytest.approx({Role.TARGET: 1.2**0.5, Role.DRAFT: 0.5})
    summary = retest_summary(rows)
    assert summary["num_shapes"] == 3 and summary["median_change"] == pytest.approx(0.2)
    assert summary["common_scale_change"] == pytest.approx(0.6 ** (1 / 3) - 1)
    assert retest_summary([])["median_change"] is None


def test_a_loop_with_its_own_table(tiny_models: dict[str, str], tmp_path: Path) -> None:
    """Calibrate over the loop's range, run it, time the table again: predictions scaled by role and batch."""
    settings = LoopSettings(
        **tiny_models, methods=("td", "sv:k=7"), batch_sizes=(1, 4), num_steps=3, num_repeats=3, device="cpu",
        one_context=False,
    )  # fmt: skip
    path = tmp_path / "table.parquet"
    calibrate_for(SOURCE, settings, path, 20.0)
    rows = read_step_times(path)
    low, high = SOURCE.split(0.0, 0, Needed((), ()))[1].context_range
    contexts = rows["num_kv_tokens"] / rows["num_sequences"]
    assert contexts[contexts > 0].min() == low and contexts.max() == high + 8
    report = hardware_in_the_loop(SOURCE, MeasuredLatency.from_file(path), settings, table=rows)
    assert {r.role for r in report.retests} == set(Role)
    assert {r.num_sequences for r in report.retests} == {1, 4} and all(r.again_s > 0 for r in report.retests)
    assert report.retimed is not None
    scale = scale_by_role([r for r in report.retests if r.num_sequences == 4])[Role.TARGET]
    for one in (report.logged, report.retimed):
        assert {(r.label.partition(":")[0], r.batch_size) for r in one.rows} == {
            (name, size) for name in ("td", "sv") for size in (1, 4)
        }
    before, after = (
        next(r for r in one.rows if r.label == "td" and r.batch_size == 4)
        for one in (report.logged, report.retimed)
    )
    assert after.predicted_tok_s == pytest.approx(before.predicted_tok_s / scale)
    assert after.measured_tok_s == before.measured_tok_s
    assert report.to_dict()["retest"]["num_shapes"] == len(report.retests)


def test_what_is_usual_follows_models_and_trace() -> None:
    everything = {"target": "t", "draft": "d", "companion": "c"}
    assert usual_methods(SOURCE, everything)[0] == "td" and "sv:k=7" in usual_methods(SOURCE, everything)
    assert usual_methods(SOURCE, {"target": "t", "draft": "d", "companion": None}) == (
        "td", "sd:k=3", "sd:k=5", "sd:k=7",
    )  # fmt: skip
    assert usual_methods(SOURCE, {"target": "t"}) == ("td",)
    short = MemorySource(independent_trace(10, 3, seed=2))
    assert usual_methods(short, everything) == ("td", "sd:k=3")
    assert max(usual_batch_sizes(short)) == 4 and max(usual_batch_sizes(SOURCE)) == 16
