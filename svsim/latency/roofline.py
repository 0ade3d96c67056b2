"""Step times from model shapes and data sheets: every kernel is bound by memory, arithmetic, or both."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from svsim.latency.geometry import BYTES_OF, BYTES_PER_VALUE, Dtype, ModelGeometry
from svsim.latency.hardware import GpuDataSheet, data_sheet
from svsim.latency.model import OutOfRange
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
from svsim.latency.shape import Role, StepShape

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Efficiencies:
    """Shares of the data sheet's peaks that kernels reach, and fixed times.

    Fitted by ``calibration/fit_roofline.py`` (mean absolute log error) to decoding and verification
    passes priced from kernel measurements: H100, H200, A100, B200 and L40S, 0.5B to 405B. Errors of
    level and slope on GPUs and models left out of the fit: ``calibration/README.md``.

    memory:       matrix products with few tokens, element-wise work.
    arithmetic:   matrix products with thousands of tokens.
    crossing:     exponent m of (memory^m + arithmetic^m)^(1/m) seconds: neither overlaps the other
                  perfectly, and between the two regimes a kernel is slower than either bound.
    tile_tokens:  matrix products compute whole tiles of so many tokens: stairs in arithmetic.
    experts:      of a mixture: what its grouped kernels reach of the above, per byte and operation.
    attention:    reading the KV cache.
    interconnect: large all-reduces (bytes that cross one GPU's links / their peak).
    kernel_s:     launch and ramp of each kernel inside a captured graph.
    attention_s:  the same for one layer's attention, which runs in several stages.
    all_reduce_s: an all-reduce of a few kilobytes.
    """

    memory: float = 0.825
    arithmetic: float = 0.828
    crossing: float = 1.59
    tile_tokens: int = 32
    experts: float = 0.90
    attention: float = 0.846
    interconnect: float = 0.49
    kernel_s: float = 0.86e-6
    attention_s: float = 29e-6
    all_reduce_s: float = 6.5e-6


# Links up to this speed are PCIe: from three GPUs on they share the host's bus.
PCIE_BYTES_PER_S = 64e9
# Kernels per layer besides attention: four matrix products, two norms, activation.
KERNELS_PER_LAYER = 7
# Element-wise traffic per token and layer, in hidden-size vectors: two norms with residual (read two,
# write two each); in intermediate-size vectors: activation (read two, write one).
HIDDEN_VECTORS_PER_LAYER = 8
INTERMEDIATE_VECTORS_PER_LAYER = 3


@dataclass(frozen=True, slots=True)
class RooflineLatency:
    """Roofline with stairs and a soft crossing. Valid for any shape: ``out_of_range`` is ``extrapolate``.

    A pass = per layer: matrix products over the padded tokens, attention reading each sequence's KV
    once (or its arithmetic, if slower), element-wise work, two all-reduces; then logits and passes
    over the vocabulary (``pass_work.py`` states the rules). Mixtures read the experts that the tokens
    choose.
    """

    gpu: GpuDataSheet
    models: Mapping[Role, ModelOnGpus]
    efficiencies: Efficiencies = Efficiencies()
    overhead_per_step_s: float = HOST_OVERHEAD_PER_STEP_S
    draft_is_one_pass: bool = False

    @classmethod
    def of(
        cls,
        hardware: str,
        tensor_parallel: int,
        target: ModelGeometry,
        draft: ModelGeometry | None = None,
        companion: ModelGeometry | None = None,
    ) -> "RooflineLatency":
        """The target on ``tensor_parallel`` GPUs of that canonical name, draft and companion on one."""
        gpu, models = data_sheet(hardware), models_on_gpus(target, draft, companion, tensor_parallel)
        check_precision(gpu, models)
        return cls(gpu, MappingProxyType(models))

    @property
    def hardware(self) -> str:
        """Canonical name of the GPU."""
        return self.gpu.name

    @property
    def tensor_parallel(self) -> int:
        """GPUs that share the target."""
        return self.models[Role.TARGET].tensor_parallel

    @property
    def source(self) -> str:
        """``roofline``."""
        return "roofline"

    @property
    def out_of_range(self) -> OutOfRange:
        """Always ``extrapolate``."""
        return "extrapolate"

    @property
    def roles(self) -> frozenset[Role]:
        """The models given."""
        return frozenset(self.models)

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        sequences, tokens, kv = shape.checked(self.models.keys(), self.hardware)
        model = self.models[shape.role]
        padded = graph_padded(tokens)
        rows = logit_rows(shape.role, sequences, padded)
        layer_s = (
            self._matrix_products_s(model, padded)
            + self._attention_s(model, sequences, tokens, kv)
            + self._element_wise_s(model, padded)
            + 2 * self._all_reduce_s(model, padded)
        )
        return np.asarray(model.geometry.num_layers * layer_s + self._vocabulary_s(model, rows))

    def _product_s(self, flop_per_token: float, tokens: Floats, num_bytes: Floats, dtype: Dtype) -> Floats:
        """Matrix products, without their launch: between the memory and the arithmetic bound."""
        fp8 = self.gpu.fp8_flop_per_s if dtype == "fp8" else None
        tile, m = self.efficiencies.tile_tokens, self.efficiencies.crossing
        flop = flop_per_token * tile * np.ceil(tokens / tile)
        arithmetic_s = flop / ((fp8 or self.gpu.bf16_flop_per_s) * self.efficiencies.arithmetic)
        memory_s = self._memory_s(num_bytes)
        longer, shorter = np.maximum(arithmetic_s, memory_s), np.minimum(arithmetic_s, memory_s)
        return np.asarray(longer * (1.0 + (shorter / longer) ** m) ** (1.0 / m))

    def _memory_s(self, num_bytes: Floats) -> Floats:
        return num_bytes / (self.gpu.memory_bytes_per_s * self.efficiencies.memory)

    def _matrix_products_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """Projections and MLP of one layer on one GPU."""
        shape, num_gpus = model.geometry, model.tensor_parallel
        projections = float(shape.attention_weights_per_layer) / num_gpus
        one_mlp = 3.0 * shape.hidden_size * shape.intermediate_size / num_gpus
        active = shape.expected_active_experts(tokens) if shape.num_experts else np.ones_like(tokens)
        chosen = max(shape.num_experts_per_token, 1)
        dtype = shape.weight_dtype
        size = BYTES_OF[dtype]
        projections_s = self._product_s(2.0 * projections, tokens, np.asarray(projections * size), dtype)
        mlp_s = self._product_s(2.0 * one_mlp * chosen, tokens, one_mlp * size * active, dtype)
        return projections_s + mlp_s / (self.efficiencies.experts if shape.num_experts else 1.0)

    def _attention_s(self, model: ModelOnGpus, sequences: Floats, tokens: Floats, kv: Floats) -> Floats:
        """Each sequence's KV is read once, however many queries; each query-key pair is computed."""
        head_size = model.geometry.head_size
        read_bytes = 2.0 * model.num_kv_heads * head_size * BYTES_OF[model.geometry.kv_dtype] * (kv + tokens)
        pairs = tokens * (kv + 0.5 * tokens) / sequences
        flop = 4.0 * model.num_heads * head_size * pairs
        arithmetic_s = flop / (self.gpu.bf16_flop_per_s * self.efficiencies.arithmetic)
        read_s = read_bytes / (self.gpu.memory_bytes_per_s * self.efficiencies.attention)
        return np.maximum(arithmetic_s, read_s) + self.efficiencies.attention_s

    def _element_wise_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        shape = model.geometry
        vectors = HIDDEN_VECTORS_PER_LAYER * shape.hidden_size
        chosen = max(shape.num_experts_per_token, 1)
        vectors += INTERMEDIATE_VECTORS_PER_LAYER * shape.intermediate_size * chosen // model.tensor_parallel
        moved_s = self._memory_s(float(vectors * BYTES_PER_VALUE) * tokens)
        return moved_s + KERNELS_PER_LAYER * self.efficiencies.kernel_s

    def _all_reduce_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """Ring: 2 (N - 1) / N of the message cross each GPU's links."""
        num_gpus = model.tensor_parallel
        if num_gpus == 1:
            return np.zeros_like(tokens)
        sent = 2.0 * (num_gpus - 1) / num_gpus * model.geometry.hidden_size * BYTES_PER_VALUE * tokens
        return self.efficiencies.all_reduce_s + self._link_s(sent, num_gpus)

    def _vocabulary_s(self, model: ModelOnGpus, rows: Floats) -> Floats:
        """Logits, their gathering from all GPUs, and the passes over the vocabulary."""
        shape, num_gpus = model.geometry, model.tensor_parallel
        weights = float(shape.vocabulary_size) * shape.hidden_size / num_gpus
        logits_s = self._product_s(2.0 * weights, rows, np.asarray(weights * BYTES_PER_VALUE), "bf16")
        row_bytes = VOCABULARY_PASSES * VOCABULARY_VALUE_BYTES * shape.vocabulary_size
        passes_s = row_bytes * rows / (self.gpu.memory_bytes_per_s * VOCABULARY_MEMORY_EFFICIENCY)
        gathered = float(shape.vocabulary_size * BYTES_PER_VALUE) * (num_gpus - 1) / num_gpus
        gather_s = self.efficiencies.all_reduce_s * (num_gpus > 1) + self._link_s(gathered * rows, num_gpus)
        return logits_s + passes_s + gather_s + self.efficiencies.kernel_s * (1 + VOCABULARY_PASSES)

    def _link_s(self, num_bytes: Floats, num_gpus: int) -> Floats:
        shares_a_bus = num_gpus > 2 and self.gpu.interconnect_bytes_per_s <= PCIE_BYTES_PER_S
        peak = self.gpu.interconnect_bytes_per_s / (num_gpus if shares_a_bus else 1)
        return num_bytes / (peak * self.efficiencies.interconnect)
