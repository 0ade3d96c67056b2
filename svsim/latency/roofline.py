"""Step times from model shapes and data sheets: every kernel is bound by memory, arithmetic, or both."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.latency.context_costs import NO_WINDOW, AttentionCosts, ContextCosts, recurrence_s
from svsim.latency.efficiencies import Efficiencies
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import GpuDataSheet, data_sheet
from svsim.latency.mixed_pass import MixedPass, attention_s, predict_mixed_s
from svsim.latency.model import OutOfRange
from svsim.latency.pass_costs import PassCosts
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
    row_rule,
)
from svsim.latency.precision import BYTES_OF, BYTES_PER_VALUE, WEIGHT_ONLY, Dtype
from svsim.latency.recurrent_layers import RecurrentLayers
from svsim.latency.shape import Role, StepShape

Floats = NDArray[np.float64]
__all__ = ["Efficiencies", "RooflineLatency"]

# Links up to this speed are PCIe: from three GPUs on they share the host's bus.
PCIE_BYTES_PER_S = 64e9
# Matrix products per layer: attention's (latent attention's with two steps of queries and two absorbed
# products), and a gated MLP's; the router's counts as one of a mixture's.
PROJECTIONS, LATENT_PROJECTIONS, MLP_PRODUCTS, MIXTURE_PRODUCTS = 2, 5, 2, 3
# Of a recurrent layer: queries to output gate, gates of the state, output.
RECURRENT_PROJECTIONS = 3
# Two norms (four of latent attention), each with its residual; the activation.
NORMS, LATENT_NORMS, ACTIVATIONS = 2, 4, 1
# Element-wise traffic per token and layer, in hidden-size vectors: two norms with residual (read two,
# write two each). The activation moves a vector of intermediate size per matrix of the MLP: it reads gate
# and up, or up alone, and writes one.
HIDDEN_VECTORS_PER_LAYER = 8
# A prompt goes through a recurrence in chunks of so many tokens; the kernels reach so much of the peak
# (as measured by aiconfigurator-core 0.12: 0.11 on H100 and H200, 0.06 on B200 and L40S).
CHUNK_TOKENS, CHUNK_ARITHMETIC = 64, 0.08


class _Contexts(NamedTuple):
    """Seconds of one layer's attention (full, windowed) and of one layer's recurrent states."""

    full_s: Floats
    windowed_s: Floats
    states_s: Floats


@dataclass(frozen=True, slots=True)
class RooflineLatency:
    """Roofline with stairs and a soft crossing. Valid for any shape: ``out_of_range`` is ``extrapolate``.

    A pass = per layer: matrix products over the padded tokens, attention reading each sequence's KV
    once (or its arithmetic, if slower), element-wise work, two all-reduces; then logits and passes
    over the vocabulary (``pass_work.py`` states the rules). Mixtures read the experts that the tokens
    choose. Recurrent layers read a state per sequence and write one per token; prompts write one.
    """

    gpu: GpuDataSheet
    models: Mapping[Role, ModelOnGpus]
    efficiencies: Efficiencies = field(default_factory=Efficiencies)
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
        *,
        sharded: Collection[Role] = (),
    ) -> "RooflineLatency":
        """The target on ``tensor_parallel`` GPUs of that canonical name, draft and companion on one.

        Roles ``sharded`` are split like the target.
        """
        gpu, models = data_sheet(hardware), models_on_gpus(target, draft, companion, tensor_parallel, sharded)
        check_precision(gpu, models)
        return cls(gpu, MappingProxyType(models))

    @property
    def hardware(self) -> str:
        """Canonical name of the GPU."""
        return self.gpu.name

    @property
    def tensor_parallel(self) -> int:
        """GPUs that share the target (of a model alone: that model)."""
        model = self.models.get(Role.TARGET) or next(iter(self.models.values()))
        return model.tensor_parallel

    @property
    def source(self) -> str:
        """``roofline``."""
        return "roofline"

    @property
    def out_of_range(self) -> OutOfRange:
        """Always ``extrapolate``."""
        return "extrapolate"

    @property
    def separates_head(self) -> bool:
        """Always."""
        return True

    @property
    def roles(self) -> frozenset[Role]:
        """The models given."""
        return frozenset(self.models)

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        sequences, tokens, kv = shape.checked(self.models.keys(), self.hardware)
        model = self.models[shape.role]
        layers_s = self._layers_s(model, tokens, self._contexts(model, sequences, tokens, kv))
        rows = logit_rows(row_rule(shape.role, model), sequences, graph_padded(tokens))
        if shape.logit_tokens is not None:
            rows = graph_padded(shape.logit_tokens)
        return np.asarray(shape.layers * layers_s + self.head_s(shape.role, rows))

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass: see ``MixedLatencyModel``."""
        mixed = MixedPass.of(decode, chunk_tokens, chunk_kv, self.roles, self.hardware)
        return predict_mixed_s(self, decode, mixed)

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts: see ``MixedLatencyModel``."""
        return attention_s(self, shape)

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a role's pass."""
        model, nothing = self.models[role], np.zeros(())

        def token_s(tokens: Floats) -> Floats:
            return self._layers_s(model, tokens, _Contexts(nothing, nothing, nothing))

        head_s, rule = partial(self.head_s, role), row_rule(role, model)
        return PassCosts(token_s, self._context_costs(model), head_s=head_s, row_rule=rule)

    def _layers_s(self, model: ModelOnGpus, tokens: Floats, contexts: _Contexts) -> Floats:
        """All layers of passes of ``tokens`` new tokens whose contexts cost as given."""
        geometry, padded = model.geometry, graph_padded(tokens)
        mixer_s = self._mixer_s(model, tokens, padded, contexts)
        blocks = geometry.num_blocks / (2 * geometry.num_layers)
        layer_s = (
            mixer_s
            + blocks * self._element_wise_s(model, padded)
            + blocks * 2 * self._all_reduce_s(model, padded)
        )
        return np.asarray(
            geometry.num_layers * layer_s
            + geometry.num_mixture_layers * self._mlp_s(model, padded)
            + geometry.num_dense_layers * self._gated_s(model, padded, model.dense_intermediate_size)
            + self._fusion_s(model, padded)
        )

    def _mixer_s(self, model: ModelOnGpus, tokens: Floats, padded: Floats, contexts: _Contexts) -> Floats:
        """Attention or recurrence of one layer on one GPU, the mean over all layers."""
        shape, mean_s, fixed_s = model.geometry, np.zeros(()), self.efficiencies.attention_s
        if shape.num_full_layers:
            full_s = self._projections_s(model, padded) + (contexts.full_s + fixed_s)
            mean_s = mean_s + shape.num_full_layers / shape.num_layers * full_s
        if shape.window:
            windowed_s = self._projections_s(model.windowed, padded) + (contexts.windowed_s + fixed_s)
            mean_s = mean_s + shape.window.num_layers / shape.num_layers * windowed_s
        if shape.recurrent:
            recurrent_s = self._recurrent_s(model, shape.recurrent, contexts.states_s, tokens, padded)
            mean_s = mean_s + shape.recurrent.num_layers / shape.num_layers * recurrent_s
        return mean_s

    def _contexts(self, model: ModelOnGpus, sequences: Floats, tokens: Floats, kv: Floats) -> _Contexts:
        """What depends on contexts, of one layer of each kind on one GPU."""
        shape, full_s, windowed_s, states_s = model.geometry, np.zeros(()), np.zeros(()), np.zeros(())
        if shape.num_full_layers:
            full_s = self._attention_s(model, sequences, tokens, kv)
        if shape.window:
            window = shape.window.window_tokens
            windowed_s = self._attention_s(model.windowed, sequences, tokens, kv, window)
        if shape.recurrent:
            states_s = recurrence_s(sequences, tokens, *self._state_costs(model, shape.recurrent))
        return _Contexts(full_s, windowed_s, states_s)

    def head_s(self, role: Role, rows: Floats) -> Floats:
        """Seconds of the head alone (logits and the passes over the vocabulary), 0 where it has no rows."""
        return np.where(rows > 0, self._vocabulary_s(self.models[role], rows), 0.0)

    def product_s(self, columns: int, rows: int, tokens: int) -> float:
        """One 16-bit matrix product of [tokens, rows] by [rows, columns]."""
        weights = float(columns) * rows
        num_bytes = np.asarray(weights * BYTES_PER_VALUE)
        return float(self._product_s(2.0 * weights, np.asarray(float(tokens)), num_bytes, "bf16", 1))

    def _product_s(
        self, flop_per_token: float, tokens: Floats, num_bytes: Floats, dtype: Dtype, kernels: int
    ) -> Floats:
        """Matrix products in so many kernels: between the memory and the arithmetic bound."""
        peak = self.gpu.flop_per_s(dtype) or self.gpu.bf16_flop_per_s
        reached, tile = self.efficiencies, self.efficiencies.tile_tokens
        memory, arithmetic, m = reached.memory, reached.arithmetic, reached.crossing
        if dtype in WEIGHT_ONLY:
            memory, arithmetic = reached.widened_memory, reached.widened_arithmetic
            m = reached.widened_crossing
        flop = flop_per_token * tile * np.ceil(tokens / tile)
        arithmetic_s = flop / (peak * arithmetic)
        memory_s = num_bytes / (self.gpu.memory_bytes_per_s * memory)
        longer, shorter = np.maximum(arithmetic_s, memory_s), np.minimum(arithmetic_s, memory_s)
        bound_s = longer * (1.0 + (shorter / longer) ** m) ** (1.0 / m)
        return np.asarray(bound_s + kernels * self.efficiencies.product_s)

    def _memory_s(self, num_bytes: Floats) -> Floats:
        return num_bytes / (self.gpu.memory_bytes_per_s * self.efficiencies.memory)

    def _projections_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """Query, key, value and output projections of one layer on one GPU."""
        weights, dtype = model.attention_weights_per_layer, model.geometry.mixer_dtype
        kernels = LATENT_PROJECTIONS if model.geometry.latent else PROJECTIONS
        return self._product_s(2.0 * weights, tokens, np.asarray(weights * BYTES_OF[dtype]), dtype, kernels)

    def _gated_s(self, model: ModelOnGpus, tokens: Floats, intermediate_size: int) -> Floats:
        """A gated MLP that every token passes, with its activation; 0 without one."""
        if not intermediate_size:
            return np.zeros_like(tokens)
        shape = model.geometry
        dtype = shape.dense_mlp_dtype if shape.num_experts else shape.weight_dtype
        weights = float(shape.mlp_weights(intermediate_size))
        num_bytes = np.asarray(weights * BYTES_OF[dtype])
        products_s = self._product_s(2.0 * weights, tokens, num_bytes, dtype, MLP_PRODUCTS)
        return products_s + self._activation_s(model, tokens, intermediate_size)

    def _fusion_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """A drafting head's fusion layer, and what its first layer reads beside; 0 for a model."""
        weights = model.geometry.fusion_weights / model.tensor_parallel
        if not weights:
            return np.zeros_like(tokens)
        return self._product_s(2.0 * weights, tokens, np.asarray(weights * BYTES_PER_VALUE), "bf16", 1)

    def _mlp_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """The MLP of one layer on one GPU; of a mixture its routed and its shared experts."""
        shape = model.geometry
        if not shape.num_experts:
            return self._gated_s(model, tokens, model.intermediate_size)
        dtype, chosen = shape.weight_dtype, shape.num_experts_per_token
        one = shape.expert_weights / model.tensor_parallel
        read_bytes = one * BYTES_OF[dtype] * shape.expected_active_experts(tokens)
        routed_s = self._product_s(2.0 * one * chosen, tokens, read_bytes, dtype, MIXTURE_PRODUCTS)
        routed_s = routed_s / self.efficiencies.experts
        projected = 2.0 * shape.hidden_size * shape.expert_input_size / model.tensor_parallel
        if projected:
            num_bytes = np.asarray(projected * BYTES_OF[dtype])
            routed_s = routed_s + self._product_s(2.0 * projected, tokens, num_bytes, dtype, 2)
        activation_s = self._activation_s(model, tokens, model.intermediate_size * chosen)
        return routed_s + activation_s + self._gated_s(model, tokens, model.shared_intermediate_size)

    def _attention_s(
        self,
        model: ModelOnGpus,
        sequences: Floats,
        tokens: Floats,
        kv: Floats,
        window_tokens: float = NO_WINDOW,
    ) -> Floats:
        """Each sequence's KV is read once, however many queries; each query-key pair is computed.

        With a window, what all sequences see is that of the mean context, an upper bound. Latent attention
        computes its pairs absorbed or expanded, whichever takes fewer operations.
        """
        shape = model.geometry
        kv = np.minimum(kv, window_tokens * sequences)
        read_bytes = model.cached_values_per_layer * BYTES_OF[shape.kv_dtype] * (kv + tokens)
        pairs = np.minimum(tokens * (kv + 0.5 * tokens) / sequences, tokens * window_tokens)
        if shape.latent is None:
            flop = 2.0 * shape.kv_head_values * pairs
        else:
            expansion = shape.latent.expansion_flop_per_token * kv
            expanded = shape.latent.expanded_flop_per_pair * pairs + expansion
            flop = np.minimum(shape.latent.absorbed_flop_per_pair * pairs, expanded)
        peak = self.gpu.bf16_flop_per_s * self.efficiencies.arithmetic
        read_s = read_bytes / (self.gpu.memory_bytes_per_s * self.efficiencies.attention)
        return np.asarray(np.maximum(model.num_heads * flop / peak, read_s))

    def _recurrent_s(
        self, model: ModelOnGpus, shape: RecurrentLayers, states_s: Floats, tokens: Floats, padded: Floats
    ) -> Floats:
        """One recurrent layer on one GPU: projections, convolution, and its states as given."""
        weights, dtype = model.recurrent_weights_per_layer, model.geometry.mixer_dtype
        num_bytes = np.asarray(weights * BYTES_OF[dtype])
        projections_s = self._product_s(2.0 * weights, padded, num_bytes, dtype, RECURRENT_PROJECTIONS)
        convolved = 2 * shape.convolved_width * BYTES_PER_VALUE * tokens / model.tensor_parallel
        fixed_s = self.efficiencies.attention_s + self.efficiencies.kernel_s
        return np.asarray(projections_s + self._memory_s(convolved) + states_s + fixed_s)

    def _state_costs(self, model: ModelOnGpus, shape: RecurrentLayers) -> tuple[float, float]:
        """Seconds of one state's traffic and of one prompt token's arithmetic, in one layer on one GPU."""
        bandwidth = self.gpu.memory_bytes_per_s * self.efficiencies.attention
        peak = self.gpu.bf16_flop_per_s * CHUNK_ARITHMETIC
        state_s = shape.state_bytes_per_layer / (model.tensor_parallel * bandwidth)
        return state_s, shape.chunked_flop_per_token(CHUNK_TOKENS) / (model.tensor_parallel * peak)

    def _context_costs(self, model: ModelOnGpus) -> ContextCosts:
        """``_contexts`` of all layers as coefficients."""
        shape, state_costs = model.geometry, (0.0, 0.0)
        if shape.recurrent:
            one = self._state_costs(model, shape.recurrent)
            state_costs = shape.recurrent.num_layers * one[0], shape.recurrent.num_layers * one[1]
        full, window = self._attention_costs(model, shape.num_full_layers), None
        if shape.window:
            layers, tokens = shape.window.num_layers, shape.window.window_tokens
            window = replace(self._attention_costs(model.windowed, layers), window_tokens=tokens)
        return ContextCosts.in_proportion(full, window, *state_costs)

    def _attention_costs(self, model: ModelOnGpus, layers: int) -> AttentionCosts:
        """``_attention_s`` of so many layers as coefficients."""
        shape = model.geometry
        bandwidth = self.gpu.memory_bytes_per_s * self.efficiencies.attention
        read_s = layers * model.cached_values_per_layer * BYTES_OF[shape.kv_dtype] / bandwidth
        flop_s = layers * model.num_heads / (self.gpu.bf16_flop_per_s * self.efficiencies.arithmetic)
        if shape.latent is None:
            return AttentionCosts(read_s, read_s, flop_s * 2.0 * shape.kv_head_values)
        return AttentionCosts(
            read_s,
            read_s,
            flop_s * shape.latent.absorbed_flop_per_pair,
            flop_s * shape.latent.expanded_flop_per_pair,
            flop_s * shape.latent.expansion_flop_per_token,
        )

    def _element_wise_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """Two norms, and the launches of all kernels but attention's."""
        moved_s = self._memory_s(
            HIDDEN_VECTORS_PER_LAYER * model.geometry.hidden_size * BYTES_PER_VALUE * tokens
        )
        kernels = (LATENT_NORMS if model.geometry.latent else NORMS) + ACTIVATIONS
        return moved_s + kernels * self.efficiencies.kernel_s

    def _activation_s(self, model: ModelOnGpus, tokens: Floats, intermediate_size: int) -> Floats:
        values = model.geometry.mlp_matrices * intermediate_size
        return self._memory_s(values * BYTES_PER_VALUE * tokens)

    def _all_reduce_s(self, model: ModelOnGpus, tokens: Floats) -> Floats:
        """The faster of one shot (N - 1 messages cross each GPU's links) and two (2 (N - 1) / N of one)."""
        num_gpus = model.tensor_parallel
        if num_gpus == 1:
            return np.zeros_like(tokens)
        message = float(model.geometry.hidden_size * BYTES_PER_VALUE) * tokens
        one_shot_s = self._link_s((num_gpus - 1) * message, num_gpus)
        two_shots_s = self._link_s(2.0 * (num_gpus - 1) / num_gpus * message, num_gpus)
        longer_s = self.efficiencies.two_shot_s
        return self.efficiencies.all_reduce_s + np.minimum(one_shot_s, longer_s + two_shots_s)

    def _vocabulary_s(self, model: ModelOnGpus, rows: Floats) -> Floats:
        """Logits, their gathering from all GPUs, and the passes over the vocabulary."""
        shape, num_gpus = model.geometry, model.tensor_parallel
        weights = float(shape.vocabulary_size) * shape.hidden_size / num_gpus
        logits_s = self._product_s(2.0 * weights, rows, np.asarray(weights * BYTES_PER_VALUE), "bf16", 1)
        row_bytes = VOCABULARY_PASSES * VOCABULARY_VALUE_BYTES * shape.vocabulary_size
        passes_s = row_bytes * rows / (self.gpu.memory_bytes_per_s * VOCABULARY_MEMORY_EFFICIENCY)
        gathered = float(shape.vocabulary_size * BYTES_PER_VALUE) * (num_gpus - 1) / num_gpus
        gather_s = self.efficiencies.all_reduce_s * (num_gpus > 1) + self._link_s(gathered * rows, num_gpus)
        return logits_s + passes_s + gather_s + self.efficiencies.kernel_s * VOCABULARY_PASSES

    def _link_s(self, num_bytes: Floats, num_gpus: int) -> Floats:
        shares_a_bus = num_gpus > 2 and self.gpu.interconnect_bytes_per_s <= PCIE_BYTES_PER_S
        peak = self.gpu.interconnect_bytes_per_s / (num_gpus if shares_a_bus else 1)
        return num_bytes / (peak * self.efficiencies.interconnect)
