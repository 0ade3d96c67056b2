"""Step times from a database of measured kernels: aiconfigurator-core (extra ``hardware``).

The database holds silicon measurements of matrix products, attention and collectives, made with vLLM,
per GPU. A pass is priced operation by operation, which settles what a ragged verification pass costs:

- matrix products, element-wise work and all-reduces at the (graph-padded) total of new tokens;
- attention as one decoding query per sequence at the mean context: each sequence's KV is read once
  whatever its number of queries, up to 32. Longer runs of new tokens are prompts: the larger of
  that and the database's prefill attention;
- logits for the rows that ``pass_work.logit_rows`` says, gathered from all GPUs;
- sampling, and S and A of the companion, which the database lacks: ``pass_work.VOCABULARY_PASSES``
  memory-bound passes at the data sheet's bandwidth.

Element-wise operations of the database are formulas, not measurements (its source ``empirical``).
The table of these prices goes through ``MeasuredLatency``, so the two sources share one model.
"""

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import LatencyError, printable
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import data_sheet
from svsim.latency.measured import MeasuredLatency
from svsim.latency.model import OutOfRange
from svsim.latency.names import closest_names
from svsim.latency.pass_work import (
    HOST_OVERHEAD_PER_STEP_S,
    MAX_LOGIT_ROWS_PER_SEQUENCE,
    VOCABULARY_PASSES,
    VOCABULARY_VALUE_BYTES,
    ModelOnGpus,
    graph_padded,
    logit_rows,
    models_on_gpus,
)
from svsim.latency.roofline import Efficiencies, RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_grid import PassShapes, standard_shapes
from svsim.latency.step_times import OVERHEAD_ROLE

FRAMEWORK = "vllm"
# Share of the tensor's elements that element-wise kernels and the embedding move, as the database's
# own Llama model sets them.
ELEMENT_WISE_SHARE, EMBEDDING_SHARE = 0.8, 0.3
MISSING_PACKAGE = (
    "the kernel database needs the package aiconfigurator-core; run: pip install 'svsim[hardware]', "
    "or choose another latency source (roofline, or a file)"
)


class MissingKernelError(LatencyError):
    """The database has no measurement of a kernel that the pass needs."""


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
    shapes = standard_shapes() if shapes is None else shapes
    kernels = KernelDatabase.load(hardware)
    parts = []
    for role, model in models_on_gpus(target, draft, companion, tensor_parallel).items():
        try:
            seconds = _database_seconds(kernels, role, model, shapes)
            source = "database"
        except MissingKernelError:
            roofline = RooflineLatency(data_sheet(hardware), {role: model})
            seconds, source = roofline.predict_s(StepShape(role, *shapes)), "roofline"
        parts.append(_columns(role, hardware, model.tensor_parallel, shapes, seconds, source))
    overhead = PassShapes(np.ones(1), np.zeros(1), np.zeros(1))
    seconds = np.array([overhead_per_step_s])
    parts.append(_columns(OVERHEAD_ROLE, hardware, tensor_parallel, overhead, seconds, "assumed"))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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
    def load(cls, hardware: str) -> "KernelDatabase":
        """Open the current measurements of a GPU. LatencyError if the package or the GPU is missing."""
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
                f"the kernel database has no {FRAMEWORK} kernels of {printable(hardware, 80)}; {near}"
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
        if shape.num_experts:
            raise MissingKernelError(f"{shape.name}: mixtures of experts are not priced from the database")
        ops, common = kernels.operations, kernels.common
        hidden, heads, kv_heads = shape.hidden_size, model.num_heads, model.num_kv_heads
        mlp, vocabulary = shape.intermediate_size // num_gpus, shape.vocabulary_size // num_gpus
        head_size, layers = shape.head_size, shape.num_layers
        bf16 = common.GEMMQuantMode.bfloat16

        def product(outputs: int, inputs: int, times: int) -> Any:
            return ops.GEMM("product", times, outputs, inputs, bf16)

        norm = ops.ElementWise("norm", 2 * layers, 2 * hidden, 2 * hidden, ELEMENT_WISE_SHARE)
        activation = ops.ElementWise("activation", layers, 2 * mlp, mlp, ELEMENT_WISE_SHARE)
        reduce = ops.CustomAllReduce("all_reduce", 2 * layers + 1, hidden, num_gpus)
        per_token = [
            ops.Embedding("embedding", 1, vocabulary, hidden, EMBEDDING_SHARE),
            product((heads + 2 * kv_heads) * head_size, hidden, layers),
            product(hidden, heads * head_size, layers),
            product(2 * mlp, hidden, layers),
            product(hidden, mlp, layers),
            norm,
            activation,
            *([reduce] if num_gpus > 1 else []),
        ]
        gather = ops.NCCL(
            "gather", 1, "all_gather", shape.vocabulary_size, num_gpus, common.CommQuantMode.half
        )
        per_row = [product(vocabulary, hidden, 1), *([gather] if num_gpus > 1 else [])]
        kv_mode, fmha_mode = common.KVCacheQuantMode.bfloat16, common.FMHAQuantMode.bfloat16
        decoding = ops.GenerationAttention("decoding", layers, heads, kv_heads, kv_mode, head_size=head_size)
        prefill = ops.ContextAttention(
            "prefill", layers, heads, kv_heads, kv_mode, fmha_mode, head_size=head_size
        )
        self._kernels = kernels
        self._per_token = [kernels.kernel(operation) for operation in per_token]
        self._per_row = [kernels.kernel(operation) for operation in per_row]
        self._decoding, self._prefill = kernels.kernel(decoding), kernels.kernel(prefill)
        row_bytes = VOCABULARY_PASSES * VOCABULARY_VALUE_BYTES * shape.vocabulary_size
        gpu = data_sheet(kernels.hardware)
        self._sampling_row_s = row_bytes / (gpu.memory_bytes_per_s * Efficiencies().memory)

    def token_s(self, tokens: int) -> float:
        """Everything that depends on the (padded) new tokens alone."""
        return sum(self._kernels.seconds(kernel, tokens) for kernel in self._per_token)

    def row_s(self, rows: int) -> float:
        """Logits, their gathering, and the passes over the vocabulary."""
        logits_s = sum(self._kernels.seconds(kernel, rows) for kernel in self._per_row)
        return logits_s + self._sampling_row_s * rows

    def attention_s(self, sequences: int, queries: int, context: int) -> float:
        """Attention of ``queries`` new tokens per sequence behind ``context`` cached ones."""
        decoding_s = self._kernels.seconds(self._decoding, sequences, sequences, context + 1)
        if queries <= MAX_LOGIT_ROWS_PER_SEQUENCE:
            return decoding_s
        tokens = sequences * queries
        return max(decoding_s, self._kernels.seconds(self._prefill, tokens, sequences, queries, context))


def _database_seconds(
    kernels: KernelDatabase, role: Role, model: ModelOnGpus, shapes: PassShapes
) -> NDArray[np.float64]:
    """Seconds of each shape [N]; MissingKernelError if a kernel was not measured on this GPU."""
    parts = _PassKernels(kernels, model)
    token_s, row_s, attention_s = cache(parts.token_s), cache(parts.row_s), cache(parts.attention_s)
    sequences, tokens, kv = shapes
    padded = graph_padded(tokens)
    rows = logit_rows(role, sequences, padded)
    queries, context = np.ceil(tokens / sequences), np.round(kv / sequences)
    return np.array(
        [
            token_s(int(n)) + row_s(int(r)) + attention_s(int(b), int(q), int(c))
            for n, r, b, q, c in zip(padded, rows, sequences, queries, context, strict=True)
        ]
    )


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
