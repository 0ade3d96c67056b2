"""Single kernels of aiconfigurator-core (extra ``hardware``), timed on one GPU under vLLM."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from svsim.errors import LatencyError, printable
from svsim.latency.hardware import data_sheet
from svsim.latency.names import closest_names
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.precision import Dtype
from svsim.latency.roofline import RooflineLatency

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
# Tables (vLLM's version) whose 16-bit products were measured at the ends of their tiles alone, and those ends
# up to a whole tile. Between them the database draws a line where a layer's products jump and stay (Vidur's
# A100 profile of Llama-3-8B: 264 tokens take as long as 384, and 400 as long as 512; the line is 20 to 24 %
# low there). Up to half a tile, bound by their weights, they reached 66 % of the bandwidth there, 77 % in
# Vidur's profiles (8B, 70B).
ENDS_OF_TILES: Mapping[str, tuple[int, ...]] = {"0.14.0": (128, 160, 192, 256)}
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

        An FP8 product takes at most as long as a full last tile: an engine may always pad. A product that
        was measured at the ends of its tiles alone takes as long as at the next end, and up to the first end
        at most as long as the roofline says.
        """
        measured_s, product = self.seconds(kernel, tokens), _product(kernel)
        if product is None:
            return measured_s
        if product.mode == "fp8":
            last = FP8_TILE * -(-tokens // FP8_TILE)
            return min(measured_s, self.seconds(kernel, last)) if tokens > FP8_TILE // 2 else measured_s
        ends = ENDS_OF_TILES.get(self.version)
        if ends is None or product.mode != "bfloat16":
            return measured_s
        if tokens > ends[0]:
            later = ends[0] * -(-tokens // ends[0])
            return self.seconds(kernel, next((end for end in ends if tokens <= end), later))
        roofline = RooflineLatency(data_sheet(self.hardware), {})
        return min(measured_s, product.layers * roofline.product_s(product.columns, product.rows, tokens))


class _Product(NamedTuple):
    """A matrix product of [tokens, rows] by [rows, columns] in so many layers; mode: of its inputs."""

    mode: str
    columns: int
    rows: int
    layers: float


@cache
def _product(kernel: str) -> _Product | None:
    """What an engine's description says, if it is a matrix product."""
    (operation,) = json.loads(kernel)
    found = operation.get("Gemm")
    if not isinstance(found, dict):
        return None
    return _Product(found["quant_mode"], found["n"], found["k"], found["scale_factor"])
