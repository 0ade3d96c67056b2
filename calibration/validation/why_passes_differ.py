"""Why a pass in the loop takes another time than its row of the table: four experiments on one CPU thread.

``OMP_NUM_THREADS=1 python calibration/validation/why_passes_differ.py`` (some three minutes). Conditions
alternate within a round, and medians over the rounds are compared, so what drifts meets all of them alike.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from campaign.scale import CPU

from svsim.calibration.decoder import RandomDecoder
from svsim.calibration.device_timer import DeviceTimer, cpu_clock
from svsim.calibration.pass_layout import PassLayout
from svsim.calibration.timed_pass import FLUSH_BYTES, pass_stages
from svsim.latency.geometry import find_model
from svsim.latency.shape import Role
from svsim.validation.device_passes import PassRunner

CONTEXT = 72
BATCHES = (1, 4, 16)
Work = Callable[[], object]


def main() -> None:
    """Run all four and print a table of each."""
    torch.set_num_threads(1)
    with torch.no_grad():
        for batch in BATCHES:
            decoders = models(batch)
            caches(decoders, batch)
            loop_against_table(decoders, batch)
        ragged_against_even(models(64))
    machine_speed()


def models(batch: int) -> dict[Role, RandomDecoder]:
    """Random models of the CPU's family, with caches for ``batch`` sequences."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for role, name in CPU.loop.families[0].models.items():
            config = Path(folder) / f"{name}.json"
            config.write_text(json.dumps(CPU.configs[name]))
            geometry = find_model(str(config))
            found[Role(role)] = RandomDecoder(
                geometry, geometry.num_layers, batch * 160, device=torch.device("cpu"), dtype=torch.float32
            )
    return found


def caches(decoders: Mapping[Role, RandomDecoder], batch: int) -> None:
    """Draft passes one after another, behind a cleared cache, and after a verification."""
    draft = whole(decoders, Role.DRAFT, PassLayout.spread(batch, batch, CONTEXT))
    verify = whole(decoders, Role.TARGET, PassLayout.spread(batch, 6 * batch, CONTEXT))
    buffer = torch.ones(FLUSH_BYTES["cpu"] // 4)
    seconds: dict[str, list[float]] = {"back to back": [], "as calibrated (16 MiB read between)": []}
    for _ in range(40):
        draft()
        seconds["back to back"] += [seconds_of(draft) for _ in range(4)]
        for _ in range(3):
            buffer.sum()
            seconds["as calibrated (16 MiB read between)"].append(seconds_of(draft))
        verify()
        for place in range(7):
            name = "after a verification, pass " + (str(place + 1) if place < 3 else "4 to 7")
            seconds.setdefault(name, []).append(seconds_of(draft))
    show(f"draft pass, batch {batch}", seconds)


def loop_against_table(decoders: Mapping[Role, RandomDecoder], batch: int) -> None:
    """The loop's own passes (5 drafts, a verification) and the calibration's timing of the same layouts."""
    timer = DeviceTimer(torch.device("cpu"), FLUSH_BYTES["cpu"])
    layouts = {
        Role.DRAFT: PassLayout.spread(batch, batch, CONTEXT),
        Role.TARGET: PassLayout.spread(batch, 6 * batch, CONTEXT),
    }
    runners = {role: PassRunner(role, decoders[role], timer) for role in layouts}
    for runner in runners.values():
        runner.reserve(9 * batch)
    laid_out = {role: runners[role].lay_out(layout) for role, layout in layouts.items()}
    seconds: dict[str, list[float]] = {}
    for _ in range(20):
        for _ in range(3):
            for role, num in ((Role.DRAFT, 5), (Role.TARGET, 1)):
                run = partial(runners[role].run, laid_out[role])
                seconds.setdefault(f"{role}, in the loop", []).extend(seconds_of(run) for _ in range(num))
        for role, layout in layouts.items():
            timed = timer.time(pass_stages(decoders[role], layout, role), 3, 1).seconds.sum(axis=1)
            seconds.setdefault(f"{role}, as calibrated", []).extend(timed.tolist())
    show(f"same passes, batch {batch}", seconds)


def ragged_against_even(decoders: Mapping[Role, RandomDecoder]) -> None:
    """Verifications of as many tokens, spread evenly or as adaptive lengths spread them."""
    rng = np.random.default_rng(0)
    for batch in (8, 32, 64):
        lengths = (1 + rng.binomial(7, rng.beta(0.7, 1.2, batch))).tolist()
        seconds: dict[str, list[float]] = {"even": [], "ragged": []}
        layouts = PassLayout.spread(batch, sum(lengths), 126), PassLayout(tuple(lengths), 126)
        works = [whole(decoders, Role.TARGET, layout) for layout in layouts]
        for work in works:
            work()
        for repeat in range(24):
            for name, work in list(zip(seconds, works, strict=True))[:: 1 if repeat % 2 else -1]:
                seconds[name].append(seconds_of(work))
        show(f"verification of {sum(lengths)} tokens, batch {batch}", seconds)


def machine_speed() -> None:
    """The same three works again and again: how far the machine's own speed moves, by five-second windows."""
    matrix, cache, memory = torch.randn(128, 128), torch.ones(10 << 18), torch.ones(256 << 18)
    works: dict[str, Work] = {
        "40 products of 128 x 128 matrices": lambda: [matrix @ matrix for _ in range(40)],
        "10 MiB read": cache.sum,
        "256 MiB read": memory.sum,
    }
    windows: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(12):
        seconds: dict[str, list[float]] = {name: [] for name in works}
        until = time.perf_counter() + 5.0
        while time.perf_counter() < until:
            for name, work in works.items():
                seconds[name].append(seconds_of(work))
        for name, values in seconds.items():
            windows[name].append(float(np.median(values)))
    show("fixed works for a minute, medians of five-second windows", windows)
    for name, medians in windows.items():
        print(f"  {name:40} slowest / fastest window {max(medians) / min(medians):.2f}")


def whole(decoders: Mapping[Role, RandomDecoder], role: Role, layout: PassLayout) -> Work:
    """Forward, logits and sampling as one function."""
    stages = pass_stages(decoders[role], layout, role)
    return lambda: [stage() for stage in stages]


def seconds_of(work: Work) -> float:
    """Seconds of one call."""
    clock = cpu_clock()
    began = clock()
    work()
    return clock() - began


def show(title: str, seconds: Mapping[str, Sequence[float]]) -> None:
    """Median, 10th and 90th percentile in milliseconds."""
    print(title)
    for name, values in seconds.items():
        low, middle, high = 1e3 * np.percentile(values, (10, 50, 90))
        print(f"  {name:40} {middle:8.3f} ms  ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
