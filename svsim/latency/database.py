"""Step times from a database of measured kernels: aiconfigurator-core (extra ``hardware``).

The database holds silicon measurements of matrix products, attention and collectives, made with vLLM,
per GPU. A pass is priced operation by operation, which settles what a ragged verification pass costs:

- matrix products, element-wise work and all-reduces at the (graph-padded) total of new tokens;
- attention as one decoding query per sequence at the mean context: each sequence's KV is read once
  whatever its number of queries, up to 32. Longer runs of new tokens are prompts: the larger of
  that and the database's prefill attention;
- latent attention (MLA) as measured blocks of DeepSeek-V3, its queries as further heads;
- recurrent layers (GDN) as measured; a verification reads one state per sequence and writes one per token;
- experts of a mixture at the measured kernels of a mild imbalance (``pass_kernels.EXPERT_LOAD``);
- logits for the rows that ``pass_work.logit_rows`` says, gathered from all GPUs;
- sampling, and S and A of the companion, which the database lacks: ``pass_work.VOCABULARY_PASSES``
  memory-bound passes at the data sheet's bandwidth.

Element-wise operations of the database are formulas, not measurements (its source ``empirical``).
The usual models' prices are shipped (``part_store.py``); others need the package, and are cached.
The table of these prices goes through ``MeasuredLatency``, so the two sources share one model.
"""

from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import canonical_name, data_sheet
from svsim.latency.head_curve import HeadCurve
from svsim.latency.kernel_database import FRAMEWORK, MISSING_PACKAGE, KernelDatabase
from svsim.latency.measured import MeasuredLatency
from svsim.latency.model import OutOfRange
from svsim.latency.part_store import cached_parts, keep_parts, shipped_parts, standard_keys
from svsim.latency.pass_kernels import PassKernels
from svsim.latency.pass_parts import MissingKernelError, PartKeys, PassParts
from svsim.latency.pass_work import (
    HOST_OVERHEAD_PER_STEP_S,
    VOCABULARY_MEMORY_EFFICIENCY,
    VOCABULARY_PASSES,
    VOCABULARY_VALUE_BYTES,
    ModelOnGpus,
    check_precision,
    graph_padded,
    logit_rows,
    max_free_queries,
    models_on_gpus,
    row_rule,
)
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_grid import PassShapes, standard_shapes
from svsim.step_time_format import OVERHEAD_ROLE


def database_step_times(
    hardware: str,
    tensor_parallel: int,
    target: ModelGeometry,
    draft: ModelGeometry | None = None,
    companion: ModelGeometry | None = None,
    *,
    sharded: Collection[Role] = (),
    shapes: PassShapes | None = None,
    overhead_per_step_s: float = HOST_OVERHEAD_PER_STEP_S,
) -> dict[str, NDArray[Any]]:
    """Step-time columns (``step_times.py``) of one deployment, priced from the database.

    The target and the roles ``sharded`` run on ``tensor_parallel`` GPUs, the others on one.
    A model whose kernels were not measured on this GPU (its head size, say) is priced by the roofline
    and its rows say ``roofline``. Raises LatencyError without aiconfigurator-core or for unknown
    hardware.
    """
    hardware, models = (
        canonical_name(hardware),
        models_on_gpus(target, draft, companion, tensor_parallel, sharded),
    )
    check_precision(data_sheet(hardware), models)
    grid = standard_shapes() if shapes is None else shapes
    columns = []
    for role, model in models.items():
        try:
            parts = kernel_parts(hardware, model) if shapes is None else measured_parts(hardware, model, grid)
            rule = row_rule(role, model)
            seconds = parts.seconds(rule, grid) + _sampling_s(hardware, rule, model, grid)
            source = "database"
        except MissingKernelError:
            roofline = RooflineLatency(data_sheet(hardware), {role: model})
            seconds, source = roofline.predict_s(StepShape(role, *grid)), "roofline"
        columns.append(_columns(role, hardware, model.tensor_parallel, grid, seconds, source))
    overhead = PassShapes(np.ones(1), np.zeros(1), np.zeros(1))
    seconds = np.array([overhead_per_step_s])
    columns.append(_columns(OVERHEAD_ROLE, hardware, tensor_parallel, overhead, seconds, "assumed"))
    return {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}


def database_latency(
    hardware: str,
    tensor_parallel: int,
    target: ModelGeometry,
    draft: ModelGeometry | None = None,
    companion: ModelGeometry | None = None,
    *,
    sharded: Collection[Role] = (),
    out_of_range: OutOfRange = "raise",
) -> MeasuredLatency:
    """The fit of ``database_step_times``; its ``source`` is ``database``, or names the roofline too."""
    hardware = canonical_name(hardware)
    columns = database_step_times(hardware, tensor_parallel, target, draft, companion, sharded=sharded)
    where = f"kernel database of {hardware}"
    fitted = MeasuredLatency.from_step_times(
        columns, hardware, tensor_parallel, out_of_range=out_of_range, where=where
    )
    models = models_on_gpus(target, draft, companion, tensor_parallel, sharded)
    return replace(fitted, heads={role: head_curve(hardware, model) for role, model in models.items()})


def head_curve(hardware: str, model: ModelOnGpus) -> HeadCurve:
    """Logits, their gathering and sampling of a model; of one that was not measured by the roofline."""
    rows = standard_keys(max_free_queries(model)).rows.astype(np.float64)
    try:
        row_s = kernel_parts(hardware, model).row_s + _row_s(hardware, model) * rows
    except MissingKernelError:
        row_s = RooflineLatency(data_sheet(hardware), {Role.TARGET: model}).head_s(Role.TARGET, rows)
    return HeadCurve.of(rows, row_s)


def kernel_parts(hardware: str, model: ModelOnGpus) -> PassParts:
    """Parts of the standard grid: shipped with svsim, from the cache, or from the package (then cached)."""
    parts = shipped_parts(hardware, model)
    if parts is None:
        software = _software(model)
        parts = cached_parts(hardware, model, software)
        if parts is None:
            parts = measured_parts(hardware, model, standard_shapes())
            keep_parts(parts, hardware, model, software)
    return parts


def measured_parts(hardware: str, model: ModelOnGpus, shapes: PassShapes) -> PassParts:
    """Parts of passes of these shapes from the package; MissingKernelError if one was not measured."""
    database = KernelDatabase.load(hardware)
    kernels = PassKernels(database, model)
    free_queries = max_free_queries(model)
    keys = PartKeys.of(shapes, free_queries)
    return PassParts(
        keys,
        np.array([kernels.token_s(n) for n in keys.tokens.tolist()]),
        np.array([kernels.row_s(n) for n in keys.rows.tolist()]),
        np.array([kernels.read_s(*key) for key in keys.reads.tolist()]),
        np.array([kernels.prompt_s(*key) for key in keys.prompts.tolist()]),
        f"{FRAMEWORK} {database.version}",
        free_queries,
    )


def _software(model: ModelOnGpus) -> str:
    """The package whose kernels are cached. LatencyError with the install command if it is missing.

    A drafting head, for which nothing is shipped, is then priced by the roofline.
    """
    try:
        return f"aiconfigurator-core {version('aiconfigurator-core')}"
    except PackageNotFoundError:
        if model.geometry.head:
            raise MissingKernelError(MISSING_PACKAGE) from None
        raise LatencyError(MISSING_PACKAGE) from None


def _sampling_s(hardware: str, role: Role, model: ModelOnGpus, shapes: PassShapes) -> NDArray[np.float64]:
    """Passes over the vocabulary, which the database lacks: bound by memory, as in the roofline."""
    rows = logit_rows(role, shapes.num_sequences, graph_padded(shapes.num_new_tokens))
    return _row_s(hardware, model) * rows


def _row_s(hardware: str, model: ModelOnGpus) -> float:
    row_bytes = VOCABULARY_PASSES * VOCABULARY_VALUE_BYTES * model.geometry.vocabulary_size
    return row_bytes / (data_sheet(hardware).memory_bytes_per_s * VOCABULARY_MEMORY_EFFICIENCY)


def _columns(
    role: str,
    hardware: str,
    tensor_parallel: int,
    shapes: PassShapes,
    seconds: NDArray[np.float64],
    source: str,
) -> dict[str, NDArray[Any]]:
    num = len(seconds)
    # nothing was repeated, so no deciles are known
    unknown = np.full(num, np.nan)
    return {
        "role": np.full(num, role, object),
        "hardware": np.full(num, hardware, object),
        "tensor_parallel": np.full(num, tensor_parallel, np.int32),
        "num_sequences": shapes.num_sequences.astype(np.int32),
        "num_new_tokens": shapes.num_new_tokens.astype(np.int32),
        "num_kv_tokens": shapes.num_kv_tokens.astype(np.int64),
        "seconds": seconds,
        "p10_s": unknown,
        "p90_s": unknown,
        "num_repeats": np.zeros(num, np.int32),
        "source": np.full(num, source, object),
    }
