"""Step times from a database of measured kernels: aiconfigurator-core (extra ``hardware``).

The database holds silicon measurements of matrix products, attention and collectives, made with vLLM,
per GPU. A pass is priced operation by operation, which settles what a ragged verification pass costs:

- matrix products, element-wise work and all-reduces at the (graph-padded) total of new tokens;
- attention as one decoding query per sequence at the mean context: each sequence's KV is read once
  whatever its number of queries, up to 32. Longer runs of new tokens are prompts: the larger of
  that and the database's prefill attention;
- experts of a mixture at the measured kernels of a mild imbalance (``EXPERT_LOAD``);
- logits for the rows that ``pass_work.logit_rows`` says, gathered from all GPUs;
- sampling, and S and A of the companion, which the database lacks: ``pass_work.VOCABULARY_PASSES``
  memory-bound passes at the data sheet's bandwidth.

Element-wise operations of the database are formulas, not measurements (its source ``empirical``).
The usual models' prices are shipped (``part_store.py``); others need the package, and are cached.
The table of these prices goes through ``MeasuredLatency``, so the two sources share one model.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError, printable
from svsim.latency.geometry import Dtype, ModelGeometry
from svsim.latency.hardware import data_sheet
from svsim.latency.measured import MeasuredLatency
from svsim.latency.model import OutOfRange
from svsim.latency.names import closest_names
from svsim.latency.part_store import cached_parts, keep_parts, shipped_parts
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
    models_on_gpus,
)
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_grid import PassShapes, standard_shapes
from svsim.latency.step_times import OVERHEAD_ROLE

FRAMEWORK = "vllm"
# Share of the tensor's elements that element-wise kernels and the embedding move, as the database's
# own Llama model sets them.
ELEMENT_WISE_SHARE, EMBEDDING_SHARE = 0.8, 0.3
KERNEL_NAME: Mapping[Dtype, str] = {"bf16": "bfloat16", "fp8": "fp8"}
# Tokens per expert follow a power law of this exponent, the database's mildest imbalance.
EXPERT_LOAD = "power_law_1.01"
MISSING_PACKAGE = (
    "this model, GPU or tp is not in the tables shipped with svsim, and the kernel database needs the "
    "package aiconfigurator-core; run: pip install 'svsim[hardware]', or choose another latency source "
    "(roofline, or a file)"
)


def database_step_times(
    hardware: str,
    tensor_parallel: int,
    target: ModelGeometry,
    draft: ModelGeometry | None = None,
    companion: ModelGeometry | None = None,
    *,
    shapes: PassShapes | None = None,
    overhead_per_step_s: float = HOST_OVERHEAD_PER_STEP_S,
) -> dict[str, NDArray[Any]]:
    """Step-time columns (``step_times.py``) of one deployment, priced from the database.

    A model whose kernels were not measured on this GPU (its head size, say) is priced by the roofline
    and its rows say ``roofline``. Raises LatencyError without aiconfigurator-core or for unknown
    hardware.
    """
    models = models_on_gpus(target, draft, companion, tensor_parallel)
    check_precision(data_sheet(hardware), models)
    grid = standard_shapes() if shapes is None else shapes
    columns = []
    for role, model in models.items():
        try:
            parts = kernel_parts(hardware, model) if shapes is None else measured_parts(hardware, model, grid)
            seconds = parts.seconds(role, grid) + _sampling_s(hardware, role, model, grid)
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
    out_of_range: OutOfRange = "raise",
) -> MeasuredLatency:
    """The fit of ``database_step_times``; its ``source`` is ``database``, or names the roofline too."""
    columns = database_step_times(hardware, tensor_parallel, target, draft, companion)
    where = f"kernel database of {hardware}"
    return MeasuredLatency.from_step_times(
        columns, hardware, tensor_parallel, out_of_range=out_of_range, where=where
    )


@dataclass(frozen=True, slots=True)
class KernelDatabase:
    """Kernels of one GPU measured under vLLM; ``version`` is vLLM's."""

    hardware: str
    version: str
    operations: ModuleType
    common: ModuleType
    _engine: Any
    _database: Any

    @classmethod
    @cache
    def load(cls, hardware: str) -> "KernelDatabase":
        """Open the current measurements of a GPU. LatencyError if the package or the GPU is missing."""
        # it reports at length on kernels of other models
        logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)
        try:
            from aiconfigurator_core.sdk import common, operations, perf_database
            from aiconfigurator_core.sdk.engine import EngineHandle
        except ImportError:
            raise LatencyError(MISSING_PACKAGE) from None
        supported = perf_database.get_supported_databases()
        known = sorted(name for name, frameworks in supported.items() if frameworks.get(FRAMEWORK))
        if hardware not in known:
            near = closest_names(hardware, known)
            raise LatencyError(
                f"the kernel database has no {FRAMEWORK} kernels of {printable(hardware, 80)}; {near} "
                "Or take the roofline"
            )
        database = perf_database.get_database(hardware, FRAMEWORK, "current")
        if database is None:
            raise LatencyError(f"the kernel database of {hardware} cannot be opened; use the roofline")
        engine = EngineHandle.for_database(database)
        return cls(hardware, str(database.version), operations, common, engine, database)

    def kernel(self, operation: Any) -> str:
        """The engine's description of an operation, to be timed with ``seconds``."""
        from aiconfigurator_core.sdk.engine import build_ops_json
        from aiconfigurator_core.sdk.operations.attention import resolved_lane_order_for_op

        for kind, table in (
            (self.operations.ContextAttention, "_context_attention_data"),
            (self.operations.GenerationAttention, "_generation_attention_data"),
        ):
            if isinstance(operation, kind):
                operation._lane_order = resolved_lane_order_for_op(self._database, table, None)
        return str(build_ops_json([operation]))

    def seconds(
        self, kernel: str, tokens: int, sequences: int = 1, length: int = 1, prefix: int | None = None
    ) -> float:
        """Seconds of one kernel over ``tokens`` tokens.

        length: KV tokens per sequence of decoding attention; with a ``prefix``, the prompt tokens per
        sequence of prefill attention behind that many cached ones.
        """
        from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError

        try:
            ((_, milliseconds, _, _),) = self._engine.evaluate_ops_json(
                kernel,
                is_context=prefix is not None,
                batch_size=sequences,
                s=length,
                prefix=prefix or 0,
                x=tokens,
            )
        except PerfDataNotAvailableError as error:
            raise MissingKernelError(f"{self.hardware}: {str(error).splitlines()[0]}") from None
        return float(milliseconds) * 1e-3


class _PassKernels:
    """The kernels of one model's pass, and their sums."""

    def __init__(self, kernels: KernelDatabase, model: ModelOnGpus) -> None:
        shape, num_gpus = model.geometry, model.tensor_parallel
        ops, common = kernels.operations, kernels.common
        hidden, heads, kv_heads = shape.hidden_size, model.num_heads, model.num_kv_heads
        mlp, vocabulary = model.intermediate_size, -(-shape.vocabulary_size // num_gpus)
        head_size, layers = shape.head_size, shape.num_layers
        bf16, weight_mode = (
            common.GEMMQuantMode.bfloat16,
            common.GEMMQuantMode[KERNEL_NAME[shape.weight_dtype]],
        )

        def product(outputs: int, inputs: int, times: int, mode: Any = weight_mode) -> Any:
            return ops.GEMM("product", times, outputs, inputs, mode)

        norm = ops.ElementWise("norm", 2 * layers, 2 * hidden, 2 * hidden, ELEMENT_WISE_SHARE)
        if shape.num_experts:
            mode = common.MoEQuantMode[KERNEL_NAME[shape.weight_dtype]]
            experts = (shape.num_experts_per_token, shape.num_experts, num_gpus, 1, mode, EXPERT_LOAD, 1)
            feed_forward = [
                product(shape.num_experts, hidden, layers, bf16),
                ops.MoE("experts", layers, hidden, shape.intermediate_size, *experts),
            ]
        else:
            feed_forward = [
                product(2 * mlp, hidden, layers),
                product(hidden, mlp, layers),
                ops.ElementWise("activation", layers, 2 * mlp, mlp, ELEMENT_WISE_SHARE),
            ]
        reduce = ops.CustomAllReduce("all_reduce", 2 * layers + 1, hidden, num_gpus)
        per_token = [
            ops.Embedding("embedding", 1, vocabulary, hidden, EMBEDDING_SHARE),
            product((heads + 2 * kv_heads) * head_size, hidden, layers),
            product(hidden, heads * head_size, layers),
            *feed_forward,
            norm,
            *([reduce] if num_gpus > 1 else []),
        ]
        gather = ops.NCCL(
            "gather", 1, "all_gather", shape.vocabulary_size, num_gpus, common.CommQuantMode.half
        )
        per_row = [product(vocabulary, hidden, 1, bf16), *([gather] if num_gpus > 1 else [])]
        kv_mode = common.KVCacheQuantMode[KERNEL_NAME[shape.kv_dtype]]
        fmha_mode = common.FMHAQuantMode.bfloat16
        decoding = ops.GenerationAttention("decoding", layers, heads, kv_heads, kv_mode, head_size=head_size)
        prefill = ops.ContextAttention(
            "prefill", layers, heads, kv_heads, kv_mode, fmha_mode, head_size=head_size
        )
        self._kernels = kernels
        self._per_token = [kernels.kernel(operation) for operation in per_token]
        self._per_row = [kernels.kernel(operation) for operation in per_row]
        self._decoding, self._prefill = kernels.kernel(decoding), kernels.kernel(prefill)

    def token_s(self, tokens: int) -> float:
        """Everything that depends on the (padded) new tokens alone."""
        return sum(self._kernels.seconds(kernel, tokens) for kernel in self._per_token)

    def row_s(self, rows: int) -> float:
        """Logits and their gathering."""
        return sum(self._kernels.seconds(kernel, rows) for kernel in self._per_row)

    def read_s(self, sequences: int, context: int) -> float:
        """Attention of one query per sequence behind ``context`` cached tokens."""
        return self._kernels.seconds(self._decoding, sequences, sequences, context + 1)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        """Prefill attention of ``queries`` new tokens per sequence behind ``context`` cached ones."""
        return self._kernels.seconds(self._prefill, sequences * queries, sequences, queries, context)


def kernel_parts(hardware: str, model: ModelOnGpus) -> PassParts:
    """Parts of the standard grid: shipped with svsim, from the cache, or from the package (then cached)."""
    parts = shipped_parts(hardware, model)
    if parts is None:
        software = _software()
        parts = cached_parts(hardware, model, software)
        if parts is None:
            parts = measured_parts(hardware, model, standard_shapes())
            keep_parts(parts, hardware, model, software)
    return parts


def measured_parts(hardware: str, model: ModelOnGpus, shapes: PassShapes) -> PassParts:
    """Parts of passes of these shapes from the package; MissingKernelError if one was not measured."""
    database = KernelDatabase.load(hardware)
    kernels, keys = _PassKernels(database, model), PartKeys.of(shapes)
    return PassParts(
        keys,
        np.array([kernels.token_s(n) for n in keys.tokens.tolist()]),
        np.array([kernels.row_s(n) for n in keys.rows.tolist()]),
        np.array([kernels.read_s(*key) for key in keys.reads.tolist()]),
        np.array([kernels.prompt_s(*key) for key in keys.prompts.tolist()]),
        f"{FRAMEWORK} {database.version}",
    )


def _software() -> str:
    """The package whose kernels are cached. LatencyError with the install command if it is missing."""
    try:
        return f"aiconfigurator-core {version('aiconfigurator-core')}"
    except PackageNotFoundError:
        raise LatencyError(MISSING_PACKAGE) from None


def _sampling_s(hardware: str, role: Role, model: ModelOnGpus, shapes: PassShapes) -> NDArray[np.float64]:
    """Passes over the vocabulary, which the database lacks: bound by memory, as in the roofline."""
    row_bytes = VOCABULARY_PASSES * VOCABULARY_VALUE_BYTES * model.geometry.vocabulary_size
    row_s = row_bytes / (data_sheet(hardware).memory_bytes_per_s * VOCABULARY_MEMORY_EFFICIENCY)
    return row_s * logit_rows(role, shapes.num_sequences, graph_padded(shapes.num_new_tokens))


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
