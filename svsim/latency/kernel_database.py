"""Single kernels of aiconfigurator-core (extra ``hardware``), timed on one GPU under vLLM."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from svsim.errors import LatencyError, printable
from svsim.latency.names import closest_names
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.precision import Dtype

FRAMEWORK = "vllm"
# Names of precisions in the database; int8 was not measured under vLLM.
KERNEL_NAME: Mapping[Dtype, str] = {
    "bf16": "bfloat16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "nvfp4",
}
# Block-scaled products alone were measured with their launch: 58 us on H200 and 175 us on B200 whatever
# their size, while a measured attention block with four of them takes 90 us. They are priced as products
# with one scale per tensor; blocks and experts are not concerned.
PRODUCT_NAME = {**KERNEL_NAME, "fp8_block": "fp8"}
# FP8 products run in tiles of so many tokens beyond half a tile. On Hopper CUTLASS's kernels take longer over
# a tile that is barely begun than over a full one, in all shapes, measured under vLLM 0.24 and SGLang 0.5.14:
# 257 tokens 1.3 to 1.5 times as long as 512, 129 tokens 1.3 times as long as 256. The database draws a
# falling line between the two.
FP8_TILE = 256
# What the engine calls a price that is no measurement but a bound from the data sheet.
BOUND = "sol"
# Which kernels the framework runs by default is told per table of the database.
ATTENTION_TABLES = {
    "_context_attention_data": "ContextAttention",
    "_generation_attention_data": "GenerationAttention",
}
MISSING_PACKAGE = (
    "this model, GPU or tp is not in the tables shipped with svsim, and the kernel database needs the "
    "package aiconfigurator-core; run: pip install 'svsim[hardware]', or choose another latency source "
    "(roofline, or a file)"
)


@dataclass(frozen=True, slots=True)
class KernelDatabase:
    """Kernels of one GPU measured under vLLM; ``version`` is vLLM's."""

    hardware: str
    version: str
    operations: ModuleType
    common: ModuleType
    _engine: Any
    _attention_lanes: Mapping[str, Any]

    @classmethod
    @cache
    def load(cls, hardware: str) -> "KernelDatabase":
        """Open the current measurements of a GPU. LatencyError if the package or the GPU is missing."""
        # it reports at length on kernels of other models
        logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)
        try:
            from aiconfigurator_core.sdk import common, operations, perf_database
            from aiconfigurator_core.sdk.engine import EngineHandle
            from aiconfigurator_core.sdk.operations.attention import resolved_lane_order_for_op
        except ImportError:
            raise LatencyError(MISSING_PACKAGE) from None
        try:
            database = perf_database.get_database(hardware, FRAMEWORK, "current")
        except ValueError:  # listing what there is takes seconds, so it is left for this case
            supported = perf_database.get_supported_databases()
            known = sorted(name for name, frameworks in supported.items() if frameworks.get(FRAMEWORK))
            near = closest_names(hardware, known)
            raise LatencyError(
                f"the kernel database has no {FRAMEWORK} kernels of {printable(hardware, 80)} "
                f"({near}); take `latency=roofline`"
            ) from None
        if database is None:
            raise LatencyError(f"the kernel database of {hardware} cannot be opened; use the roofline")
        engine = EngineHandle.for_database(database)
        lanes = {table: resolved_lane_order_for_op(database, table, None) for table in ATTENTION_TABLES}
        return cls(hardware, str(database.version), operations, common, engine, lanes)

    def kernel(self, operation: Any) -> str:
        """The engine's description of an operation, to be timed with ``seconds``."""
        from aiconfigurator_core.sdk.engine import build_ops_json

        for table, kind in ATTENTION_TABLES.items():
            if isinstance(operation, getattr(self.operations, kind)):
                operation._lane_order = self._attention_lanes[table]
        return str(build_ops_json([operation]))

    def seconds(
        self, kernel: str, tokens: int, sequences: int = 1, length: int = 1, prefix: int | None = None
    ) -> float:
        """Seconds of one kernel over ``tokens`` tokens; MissingKernelError if it was not measured.

        length: KV tokens per sequence of decoding attention; with a ``prefix``, the prompt tokens per
        sequence of prefill attention behind that many cached ones.
        """
        from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError

        try:
            ((name, milliseconds, _, source),) = self._engine.evaluate_ops_json(
                kernel,
                is_context=prefix is not None,
                batch_size=sequences,
                s=length,
                prefix=prefix or 0,
                x=tokens,
            )
        except PerfDataNotAvailableError as error:
            reason, _, _ = str(error).splitlines()[0].partition(" at /")  # where it is installed
            raise MissingKernelError(f"{self.hardware}: {reason}") from None
        if source == BOUND:
            raise MissingKernelError(f"{self.hardware}: no {name} of this shape was measured")
        return float(milliseconds) * 1e-3

    def token_seconds(self, kernel: str, tokens: int) -> float:
        """Seconds of one kernel over ``tokens`` tokens, whatever they belong to.

        An FP8 product takes at most as long as a full last tile: an engine may always pad.
        """
        measured_s = self.seconds(kernel, tokens)
        if tokens <= FP8_TILE // 2 or not is_fp8_product(kernel):
            return measured_s
        return min(measured_s, self.seconds(kernel, FP8_TILE * -(-tokens // FP8_TILE)))


@cache
def is_fp8_product(kernel: str) -> bool:
    """Whether an engine's description is that of a matrix product of 8-bit floats."""
    (operation,) = json.loads(kernel)
    product = operation.get("Gemm")
    return isinstance(product, dict) and product.get("quant_mode") == "fp8"
