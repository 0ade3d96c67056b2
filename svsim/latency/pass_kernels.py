"""The measured kernels of one model's pass, and their sums."""

from typing import Any

from svsim.latency.kernel_database import KERNEL_NAME, PRODUCT_NAME, KernelDatabase
from svsim.latency.latent_attention import LatentAttention
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import MAX_LOGIT_ROWS_PER_SEQUENCE, ModelOnGpus
from svsim.latency.recurrent_kernels import Attention, HybridAttention
from svsim.latency.sliding_window import WindowedLayers

# Share of the tensor's elements that element-wise kernels and the embedding move, as the database's
# own Llama model sets them.
ELEMENT_WISE_SHARE, EMBEDDING_SHARE = 0.8, 0.3
# Tokens per expert follow a power law of this exponent, the database's mildest imbalance.
EXPERT_LOAD = "power_law_1.01"
# The one latent attention that was measured: DeepSeek-V3 (R1, Kimi-K2), at this hidden size and up to so
# many heads.
MEASURED_LATENT_HEADS = 128
MEASURED_LATENT = LatentAttention(1536, 512, 64, 128, 128)
MEASURED_LATENT_HIDDEN_SIZE = 7168


class PassKernels:
    """The kernels of one model's pass, and their sums."""

    def __init__(self, kernels: KernelDatabase, model: ModelOnGpus) -> None:
        shape, num_gpus = model.geometry, model.tensor_parallel
        for dtype in (shape.weight_dtype, shape.mixer_dtype, shape.dense_mlp_dtype):
            if dtype not in KERNEL_NAME:
                raise MissingKernelError(f"{kernels.hardware}: no {dtype} products were measured")
        ops, common = kernels.operations, kernels.common
        hidden, vocabulary = shape.hidden_size, -(-shape.vocabulary_size // num_gpus)
        self._attention = _attention(kernels, model)
        if shape.recurrent:
            self._attention = HybridAttention(kernels, model, shape.recurrent, self._attention)
        reduce = ops.CustomAllReduce("all_reduce", shape.num_blocks + 1, hidden, num_gpus)
        per_token = [
            ops.Embedding("embedding", 1, vocabulary, hidden, EMBEDDING_SHARE),
            *self._attention.products,
            *_feed_forward(kernels, model),
            *_fusion(kernels, model),
            ops.ElementWise("norm", shape.num_blocks, 2 * hidden, 2 * hidden, ELEMENT_WISE_SHARE),
            *([reduce] if num_gpus > 1 else []),
        ]
        logits = ops.GEMM("product", 1, vocabulary, hidden, common.GEMMQuantMode.bfloat16)
        gather = ops.NCCL(
            "gather", 1, "all_gather", shape.vocabulary_size, num_gpus, common.CommQuantMode.half
        )
        self._kernels = kernels
        self._per_token = [kernels.kernel(operation) for operation in per_token]
        self._per_row = [kernels.kernel(logits), *([kernels.kernel(gather)] if num_gpus > 1 else [])]

    def token_s(self, tokens: int) -> float:
        """Everything that depends on the (padded) new tokens alone."""
        return self._attention.fixed_s + sum(
            self._kernels.token_seconds(kernel, tokens) for kernel in self._per_token
        )

    def row_s(self, rows: int) -> float:
        """Logits and their gathering."""
        return sum(self._kernels.token_seconds(kernel, rows) for kernel in self._per_row)

    def read_s(self, sequences: int, context: int) -> float:
        """Attention of one query per sequence behind ``context`` cached tokens."""
        return self._attention.read_s(sequences, context)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        """Attention of ``queries`` new tokens per sequence behind ``context`` cached ones."""
        return self._attention.prompt_s(sequences, queries, context)


def _attention(kernels: KernelDatabase, model: ModelOnGpus) -> Attention:
    """The kind of attention that the model has; of a hybrid, before its recurrent layers are added."""
    shape = model.geometry
    if shape.latent:
        return _LatentAttention(kernels, model)
    if shape.window:
        return _SomeWindowed(kernels, model, shape.window)
    return _GroupedAttention(kernels, model, shape.num_attention_layers)


def _fusion(kernels: KernelDatabase, model: ModelOnGpus) -> list[Any]:
    """A drafting head's fusion layer, and what its first layer reads beside; nothing for a model."""
    shape, ops, num_gpus = model.geometry, kernels.operations, model.tensor_parallel
    if shape.head is None:
        return []
    mode, hidden = kernels.common.GEMMQuantMode.bfloat16, shape.hidden_size
    fusion = ops.GEMM("product", 1, -(-hidden // num_gpus), shape.head.fused_size, mode)
    if not shape.head.side_input_size:
        return [fusion]
    widened = (shape.query_width + 2 * shape.num_kv_heads * shape.head_size) // num_gpus
    return [fusion, ops.GEMM("product", 1, widened, shape.head.side_input_size, mode)]


def _feed_forward(kernels: KernelDatabase, model: ModelOnGpus) -> list[Any]:
    """MLPs of all layers: of a mixture the router, routed and shared experts, and the dense layers."""
    shape, ops, common = model.geometry, kernels.operations, kernels.common
    if not shape.num_experts:
        return _mlp(kernels, model, model.intermediate_size, shape.num_mixture_layers)
    if shape.mlp_matrices != 3 or shape.expert_input_size:
        raise MissingKernelError(f"{kernels.hardware}: no experts without gate or with an input of their own")
    mixtures, hidden = shape.num_mixture_layers, shape.hidden_size
    mode = common.MoEQuantMode[KERNEL_NAME[shape.weight_dtype]]
    load = (shape.num_experts_per_token, shape.num_experts, model.tensor_parallel, 1, mode, EXPERT_LOAD, 1)
    return [
        ops.GEMM("product", mixtures, shape.num_experts, hidden, common.GEMMQuantMode.bfloat16),
        ops.MoE("experts", mixtures, hidden, shape.intermediate_size, *load),
        *_mlp(kernels, model, model.shared_intermediate_size, mixtures),
        *_mlp(kernels, model, model.dense_intermediate_size, shape.num_dense_layers),
    ]


def _mlp(kernels: KernelDatabase, model: ModelOnGpus, size: int, layers: int) -> list[Any]:
    """MLPs of ``layers`` layers that every token passes; nothing where they have no size."""
    if not size or not layers:
        return []
    shape, ops, hidden = model.geometry, kernels.operations, model.geometry.hidden_size
    mode = kernels.common.GEMMQuantMode[
        PRODUCT_NAME[shape.dense_mlp_dtype if shape.num_experts else shape.weight_dtype]
    ]
    widened = (shape.mlp_matrices - 1) * size
    return [
        ops.GEMM("product", layers, widened, hidden, mode),
        ops.GEMM("product", layers, hidden, size, mode),
        ops.ElementWise("activation", layers, widened, size, ELEMENT_WISE_SHARE),
    ]


class _GroupedAttention:
    """Attention over key and value heads in ``layers`` layers: kernels for decoding and for prompts.

    With a window (``window_tokens``) decoding reads at most the window, and a longer prompt is as many
    prompts of the window's length, each query of which meets a window's tokens on average.
    """

    fixed_s = 0.0

    def __init__(
        self, kernels: KernelDatabase, model: ModelOnGpus, layers: int, window_tokens: int | None = None
    ) -> None:
        shape, ops, common = model.geometry, kernels.operations, kernels.common
        if shape.kv_head_values != 2 * shape.head_size:
            raise MissingKernelError(
                f"{kernels.hardware}: no attention with values of another size than keys"
            )
        heads, kv_heads, head_size = model.num_heads, model.num_kv_heads, shape.head_size
        projected = shape.query_width // model.tensor_parallel + kv_heads * shape.projected_kv_head_values
        mode = common.GEMMQuantMode[PRODUCT_NAME[shape.mixer_dtype]]
        kv_mode = common.KVCacheQuantMode[KERNEL_NAME[shape.kv_dtype]]
        self.products = [
            ops.GEMM("product", layers, projected, shape.hidden_size, mode),
            ops.GEMM("product", layers, shape.hidden_size, heads * head_size, mode),
        ]
        decoding = ops.GenerationAttention("decoding", layers, heads, kv_heads, kv_mode, head_size=head_size)
        prefill = ops.ContextAttention(
            "prefill", layers, heads, kv_heads, kv_mode, common.FMHAQuantMode.bfloat16, head_size=head_size
        )
        self._kernels, self._window = kernels, window_tokens
        self._decoding, self._prefill = kernels.kernel(decoding), kernels.kernel(prefill)

    def read_s(self, sequences: int, context: int) -> float:
        seen = context + 1 if self._window is None else min(context + 1, self._window)
        return self._kernels.seconds(self._decoding, sequences, sequences, seen)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        if self._window is not None and context + queries > self._window:
            each = min(queries, self._window)
            sequences *= -(-queries // each)
            context = self._window - each // 2 if queries > each else min(context, self._window - each // 2)
            queries = each
        return self._kernels.seconds(self._prefill, sequences * queries, sequences, queries, context)


class _SomeWindowed:
    """Layers that see all of the context, and layers that see a window."""

    fixed_s = 0.0

    def __init__(self, kernels: KernelDatabase, model: ModelOnGpus, window: WindowedLayers) -> None:
        full = model.geometry.num_full_layers
        self._parts = [_GroupedAttention(kernels, model, full)] if full else []
        windowed = _GroupedAttention(kernels, model.windowed, window.num_layers, window.window_tokens)
        self._parts.append(windowed)
        self.products = [product for part in self._parts for product in part.products]

    def read_s(self, sequences: int, context: int) -> float:
        return sum(part.read_s(sequences, context) for part in self._parts)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        return sum(part.prompt_s(sequences, queries, context) for part in self._parts)


class _LatentAttention:
    """Latent attention, measured as whole blocks (projections included) of DeepSeek-V3.

    The projections are priced as matrix products of all new tokens; what a block takes beyond them with
    next to no context is a fixed time per pass; what it takes beyond that is the attention. Heads share the
    cache, so that q queries of h heads are one query of q h heads: as measured up to 128 of them, beyond in
    proportion to their number.
    """

    def __init__(self, kernels: KernelDatabase, model: ModelOnGpus) -> None:
        shape, ops, common = model.geometry, kernels.operations, kernels.common
        latent, heads, layers, hidden = shape.latent, model.num_heads, shape.num_layers, shape.hidden_size
        if latent != MEASURED_LATENT or hidden != MEASURED_LATENT_HIDDEN_SIZE:
            raise MissingKernelError(
                f"{kernels.hardware}: latent attention was measured in DeepSeek-V3's shape"
            )
        mode = common.GEMMQuantMode[PRODUCT_NAME[shape.mixer_dtype]]
        self.products = [
            ops.GEMM("product", layers, latent.query_rank + latent.cached_values, hidden, mode),
            ops.GEMM(
                "product", layers, heads * (latent.nope_size + latent.rope_size), latent.query_rank, mode
            ),
            ops.GEMM("product", layers, heads * (latent.nope_size + latent.value_size), latent.kv_rank, mode),
            ops.GEMM("product", layers, hidden, heads * latent.value_size, mode),
        ]
        block_mode = common.GEMMQuantMode[KERNEL_NAME[shape.mixer_dtype]]
        modes = (
            common.KVCacheQuantMode[KERNEL_NAME[shape.kv_dtype]],
            common.FMHAQuantMode.bfloat16,
            block_mode,
        )

        def block(is_prompt: bool, num_heads: int) -> str:
            native = MEASURED_LATENT_HEADS
            return kernels.kernel(
                ops.MLAModule("block", layers, is_prompt, num_heads, *modes, native_num_heads=native)
            )

        self._kernels, self._heads = kernels, heads
        self._projections = [kernels.kernel(operation) for operation in self.products]
        most = max(MEASURED_LATENT_HEADS // heads, 1)
        self._decoding = [block(False, queries * heads) for queries in range(1, most + 1)]
        self._prefill = block(True, heads)
        self.fixed_s = max(self._block_s(self._decoding[0], 1, 1) - self._projections_s(1), 0.0)

    def read_s(self, sequences: int, context: int) -> float:
        return self._attention_s(sequences, 1, context)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        if queries <= MAX_LOGIT_ROWS_PER_SEQUENCE:
            return self._attention_s(sequences, queries, context)
        tokens = sequences * queries
        whole = self._kernels.seconds(self._prefill, tokens, sequences, queries, context)
        return max(whole - self._projections_s(tokens) - self.fixed_s, 0.0)

    def _attention_s(self, sequences: int, queries: int, context: int) -> float:
        """Of a block with ``queries`` times its heads: what it takes beyond next to no context."""
        at_once = min(queries, len(self._decoding))
        block = self._decoding[at_once - 1]
        measured = self._block_s(block, sequences, context) - self._block_s(block, sequences, 1)
        return max(measured, 0.0) * queries / at_once

    def _block_s(self, block: str, sequences: int, context: int) -> float:
        return self._kernels.seconds(block, sequences, sequences, context + 1)

    def _projections_s(self, tokens: int) -> float:
        return sum(self._kernels.token_seconds(kernel, tokens) for kernel in self._projections)
