"""Laid-out passes have the shapes of the step, and the GPU's code path runs them through its graphs."""

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_cuda import FakeGraph, fake_gpu_timer  # noqa: F401
from support.small_traces import StairLatency, independent_trace

from svsim.calibration.decoder import RandomDecoder
from svsim.calibration.device_timer import DeviceTimer
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.settings import RunSettings, prepare
from svsim.engines.step_log import StepWalk
from svsim.latency.geometry import ModelGeometry
from svsim.latency.shape import Role
from svsim.trace.parts import MemorySource
from svsim.validation.device_loop import COMPANION_PART, DRAFT_PART, VERIFY_PART, DeviceLoop
from svsim.validation.device_passes import PassRunner

TINY = ModelGeometry("tiny", 2, 32, 4, 2, 8, 48, 61)
BATCH = 5


def walk_of(spec: str) -> StepWalk:
    trace = independent_trace(40, 7, seed=1)
    run = RunSettings((parse_method(spec, 7),), (BATCH,))
    return StepWalk(prepare(MemorySource(trace), run, [Deployment(StairLatency())]), 0, BATCH)


def runners_on(timer: DeviceTimer) -> dict[Role, PassRunner]:
    def decoder() -> RandomDecoder:
        return RandomDecoder(TINY, 2, 2000, device=torch.device("cpu"), dtype=torch.float32)

    return {role: PassRunner(role, decoder(), timer) for role in Role}


@pytest.mark.parametrize("spec", ["td", "sd:k=3", "sv:k=7"])
def test_passes_have_the_shapes_of_the_step(spec: str) -> None:
    walk = walk_of(spec)
    k = walk.method.num_speculative_tokens
    loop = DeviceLoop(runners_on(DeviceTimer(torch.device("cpu"), 4)), walk.method)
    steps = walk.log(8)
    for step, laid_out in zip(steps, loop.lay_out(steps), strict=True):
        context = step.work.context.mean()
        draft, companion, verify = (laid_out.parts[p] for p in (DRAFT_PART, COMPANION_PART, VERIFY_PART))
        assert len(draft) == k and len(companion) == spec.startswith("sv") and len(verify) == 1
        assert verify[0].layout.num_new_tokens == tuple(step.outcome.lengths + 1)
        assert verify[0].layout.context == pytest.approx(context, abs=0.5)
        if k:
            assert draft[0].layout.num_new_tokens == tuple(step.work.num_owed)
            assert all(one.layout.num_new_tokens == (1,) * BATCH for one in draft[1:])
            assert draft[-1].layout.context == pytest.approx(context + k / 2, abs=0.5)
        for one in companion:
            assert one.layout.num_new_tokens == tuple(step.work.num_owed + k - 1)


def test_online_takes_the_logged_trajectory() -> None:
    logged = walk_of("sv:k=7").log(6)
    walk = walk_of("sv:k=7")
    loop = DeviceLoop(runners_on(DeviceTimer(torch.device("cpu"), 4)), walk.method)
    seconds, emitted = loop.run_online(walk, 6)
    np.testing.assert_array_equal(emitted, [s.outcome.emitted.sum() for s in logged])
    assert (seconds > 0).all()


def test_a_pass_computes_what_it_would_alone() -> None:
    """Running one pass after another of the same runner leaves the first one's result as it was."""
    runner = runners_on(DeviceTimer(torch.device("cpu"), 4))[Role.TARGET]
    loop = DeviceLoop({Role.TARGET: runner}, parse_method("td", 7))
    one = loop.lay_out(walk_of("td").log(1))[0].parts[VERIFY_PART][0]
    before = runner.decoder.forward(one.layout, one.indices).clone()
    runner.run(one)
    torch.testing.assert_close(runner.decoder.forward(one.layout, one.indices), before)


@pytest.mark.parametrize("spec", ["td", "sd:k=3", "sv:k=7"])
def test_the_gpu_path(fake_gpu_timer: Any, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:  # noqa: F811
    """Every pass is one replay of a graph of its own shape, and reads the indices copied into it."""
    walk = walk_of(spec)
    runners = runners_on(fake_gpu_timer)
    for runner in runners.values():
        runner.reserve(BATCH * 8)
    loop = DeviceLoop(runners, walk.method, context=70)
    laid_out = loop.lay_out(walk.log(10))
    passes = [(role, one) for s in laid_out for role, part in zip(
        (Role.DRAFT, Role.COMPANION, Role.TARGET), s.parts, strict=True) for one in part]  # fmt: skip
    shapes = {
        (role, one.layout.padded_tokens, one.layout.longest, one.layout.context) for role, one in passes
    }
    assert sum(runner.num_graphs for runner in runners.values()) == len(shapes) < len(passes)
    assert {one.layout.context for _, one in passes} <= {
        70,
        70 + round(walk.method.num_speculative_tokens / 2),
    }
    before = FakeGraph.num_replays
    seconds = loop.run_logged(laid_out)
    assert FakeGraph.num_replays - before == len(passes)
    assert seconds.shape == (10, 3) and (seconds[:, VERIFY_PART] > 0).all()
    role, one = passes[-1]
    (graph,) = [
        g
        for key, g in runners[role]._graphs.items()
        if key[1:] == (one.layout.padded_tokens, one.layout.longest, one.layout.context)
    ]
    torch.testing.assert_close(graph.indices.fold, one.indices.fold)
    captured = sum(runner.num_graphs for runner in runners.values())
    loop.run_online(walk_of(spec), 10)
    assert sum(runner.num_graphs for runner in runners.values()) == captured  # the same trajectory
    loop.run_online(walk, 3, dry=True)
    assert sum(runner.num_graphs for runner in runners.values()) == captured
