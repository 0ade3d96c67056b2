"""Fit the roofline's efficiencies on the shipped kernel times, and say how far they carry.

    python calibration/fit_roofline.py            (a few minutes on one core; no GPU, no extra)

Data: passes of all preset models on five GPUs at tp 1 to 8 as the kernel database prices them
(``svsim/latency/tables/kernel_parts.parquet``): decoding and verification of 1 to 9 tokens a sequence,
1 to 256 sequences, up to 8192 tokens of context. Loss: absolute log errors of level and
slope. Then every GPU, and every model, is left out in turn, the efficiencies are fitted to the rest (at
the degrees of ``--degrees``) and judged on it:

- level: mean |log(roofline / database)| over its passes;
- slope: the mean extra seconds per new token between 1 and 9 tokens a sequence, at 8 sequences or more
  (what speculation pays), median of |log ratio| over deployments and batch sizes.

Prints the fitted efficiencies (to be copied to ``svsim/latency/roofline.py``) and a Markdown table.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from svsim.latency.geometry import model_presets
from svsim.latency.hardware import data_sheet
from svsim.latency.part_store import shipped_deployments, shipped_parts
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import (
    VOCABULARY_MEMORY_EFFICIENCY,
    VOCABULARY_PASSES,
    VOCABULARY_VALUE_BYTES,
    ModelOnGpus,
    graph_padded,
    logit_rows,
)
from svsim.latency.roofline import Efficiencies, RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_grid import PassShapes, standard_shapes

Floats = NDArray[np.float64]
FITTED = (
    "memory", "arithmetic", "crossing", "experts", "attention", "interconnect",
    "product_s", "kernel_s", "attention_s", "all_reduce_s", "two_shot_s",
)  # fmt: skip
TILES = (1, 16, 32, 64, 128)
MAX_ROUNDS = 12
SLOPE_WEIGHT = 0.5  # of one log slope, against one pass


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model on one GPU type, and the database's seconds of every pass."""

    name: str
    gpu: str
    model: ModelOnGpus
    seconds: Floats

    def predicted_s(self, efficiencies: Efficiencies, shapes: PassShapes) -> Floats:
        """The roofline's seconds of the same passes."""
        roofline = RooflineLatency(data_sheet(self.gpu), {Role.TARGET: self.model}, efficiencies)
        return roofline.predict_s(StepShape(Role.TARGET, *shapes))


def fitted_shapes() -> PassShapes:
    """Decoding and verification passes of the standard grid, thinned."""
    grid = np.stack(standard_shapes())
    queries, context = grid[1] / grid[0], grid[2] / grid[0]
    chosen = np.isin(queries, (1, 2, 3, 5, 7, 9)) & np.isin(context, (128, 1024, 4096, 8192))
    return PassShapes(*grid[:, chosen])


def load(shapes: PassShapes) -> list[Deployment]:
    """All shipped deployments whose kernels are known, hybrids left out."""
    found = []
    rows = logit_rows(Role.TARGET, shapes.num_sequences, graph_padded(shapes.num_new_tokens))
    for name, dtype, gpu, degree in shipped_deployments():
        if dtype != "bf16" or model_presets()[name].recurrent:
            continue
        model = ModelOnGpus(model_presets()[name], degree)
        try:
            parts = shipped_parts(gpu, model)
        except MissingKernelError:
            continue
        assert parts is not None
        row_bytes = VOCABULARY_PASSES * VOCABULARY_VALUE_BYTES * model.geometry.vocabulary_size
        sampling_s = rows * row_bytes / (data_sheet(gpu).memory_bytes_per_s * VOCABULARY_MEMORY_EFFICIENCY)
        found.append(Deployment(name, gpu, model, parts.seconds(Role.TARGET, shapes) + sampling_s))
    return found


def fit(deployments: Sequence[Deployment], shapes: PassShapes, start: Efficiencies) -> Efficiencies:
    """Efficiencies of the smallest mean absolute log error, from ``start`` (its tile is kept)."""
    truth = np.concatenate([logs_of(d.seconds, shapes) for d in deployments])

    def at(logs: Floats) -> Efficiencies:
        return replace(start, **dict(zip(FITTED, np.exp(logs).tolist(), strict=True)))

    def residuals(logs: Floats) -> Floats:
        ours = [logs_of(d.predicted_s(at(logs), shapes), shapes) for d in deployments]
        return np.asarray(np.concatenate(ours) - truth)

    first = np.log([getattr(start, name) for name in FITTED])
    # soft_l1 with a small scale is the absolute error
    solve = partial(
        least_squares, loss="soft_l1", f_scale=0.03, max_nfev=MAX_ROUNDS, diff_step=np.array(1e-3)
    )
    return at(solve(residuals, first).x)


def logs_of(seconds: Floats, shapes: PassShapes) -> Floats:
    """Log seconds of the passes, and weighted log slopes."""
    return np.concatenate([np.log(seconds), SLOPE_WEIGHT * np.log(slopes(seconds, shapes))])


def errors(
    deployments: Sequence[Deployment], shapes: PassShapes, efficiencies: Efficiencies
) -> tuple[float, float, float]:
    """Mean and 95th percentile of |log level|, median |log slope|."""
    level, slope = [], []
    for d in deployments:
        ours = d.predicted_s(efficiencies, shapes)
        level.append(np.abs(np.log(ours / d.seconds)))
        mine, theirs = slopes(ours, shapes), slopes(d.seconds, shapes)
        slope.append(np.abs(np.log(mine / theirs)))
    levels, slope_errors = np.concatenate(level), np.concatenate(slope)
    return float(levels.mean()), float(np.percentile(levels, 95)), float(np.median(slope_errors))


def slopes(seconds: Floats, shapes: PassShapes) -> Floats:
    """Extra seconds per new token from 1 to 9 tokens a sequence, by (batch of 8 or more, context)."""
    sequences, tokens, kv = shapes
    queries, context = tokens / sequences, kv / sequences
    found = []
    for batch in np.unique(sequences[sequences >= 8]):
        for length in np.unique(context):
            here = (sequences == batch) & (context == length)
            low, high = seconds[here & (queries == 1)], seconds[here & (queries == 9)]
            if low.size and high.size:
                found.append(max((high[0] - low[0]) / (8 * batch), 1e-9))
    return np.array(found)


def main() -> None:
    """Fit, leave out, print."""
    parser = argparse.ArgumentParser(description="fit the roofline's efficiencies")
    parser.add_argument(
        "--degrees", type=int, nargs="*", default=[1, 4], help="tp of the folds' training data"
    )
    degrees = set(parser.parse_args().degrees)
    shapes = fitted_shapes()
    everything = load(shapes)
    thin = [d for d in everything if d.model.tensor_parallel in degrees]
    fits = [fit(thin, shapes, replace(Efficiencies(), tile_tokens=tile)) for tile in TILES]
    best = min(fits, key=lambda e: sum(errors(thin, shapes, e)[::2]))
    best = fit(everything, shapes, best)
    print("| left out | passes' level: mean | p95 | slope per new token: median |\n|---|---|---|---|")

    def line(name: str, judged: Sequence[Deployment], efficiencies: Efficiencies) -> None:
        mean, p95, slope = errors(judged, shapes, efficiencies)
        print(f"| {name} | {mean:.1%} | {p95:.1%} | {slope:.1%} |", flush=True)

    line("nothing (in sample)", everything, best)
    for gpu in dict.fromkeys(d.gpu for d in everything):
        line(
            gpu, [d for d in everything if d.gpu == gpu], fit([d for d in thin if d.gpu != gpu], shapes, best)
        )
    for name in dict.fromkeys(d.name for d in everything):
        line(
            name,
            [d for d in everything if d.name == name],
            fit([d for d in thin if d.name != name], shapes, best),
        )
    print(f"\n{best}")


if __name__ == "__main__":
    main()
