"""The measured kernels of one model's pass, and their sums."""

from typing import Any

from svsim.latency.kernel_database import KERNEL_NAME, PRODUCT_NAME, KernelDatabase
from svsim.latency.latent_attention import LatentAttention
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import MAX_LOGIT_ROWS_PER_SEQUENCE, ModelOnGpus
from svsim.latency.recurrent_kernels import Attention, HybridAttention

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
        if shape.weight_dtype not in KERNEL_NAME:
            raise MissingKernelError(f"{kernels.hardware}: no {shape.weight_dtype} products were measured")
        ops, common = kernels.operations, kernels.common
        hidden, layers, vocabulary = (
            shape.hidden_size,
            shape.num_layers,
            -(-shape.vocabulary_size // num_gpus),
        )
        kind = _LatentAttention if shape.latent else _GroupedAttention
        self._attention: Attention = kind(kernels, model)
        if shape.gated_delta_net:
            self._attention = HybridAttention(kernels, model, shape.gated_delta_net, self._attention)
        reduce = ops.CustomAllReduce("all_reduce", 2 * layers + 1, hidden, num_gpus)
        per_token = [
            ops.Embedding("embedding", 1, vocabulary, hidden, EMBEDDING_SHARE),
            *self._attention.products,
            *_feed_forward(kernels, model),
            *_fusion(kernels, model),
            ops.ElementWise("norm", 2 * layers, 2 * hidden, 2 * hidden, ELEMENT_WISE_SHARE),
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
        return self._attention.fixed_s + sum(self._kernels.seconds(k, tokens) for k in self._per_token)

    def row_s(self, rows: int) -> float:
        """Logits and their gathering."""
        return sum(self._kernels.seconds(kernel, rows) for kernel in self._per_row)

    def read_s(self, sequences: int, context: int) -> float:
        """Attention of one query per sequence behind ``context`` cached tokens."""
        return self._attention.read_s(sequences, context)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        """Attention of ``queries`` new tokens per sequence behind ``context`` cached ones."""
        return self._attention.prompt_s(sequences, queries, context)


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
        return _gated(kernels, model, model.intermediate_size, shape.num_layers)
    mixtures, hidden = shape.num_layers - shape.num_dense_layers, shape.hidden_size
    mode = common.MoEQuantMode[KERNEL_NAME[shape.weight_dtype]]
    load = (shape.num_experts_per_token, shape.num_experts, model.tensor_parallel, 1, mode, EXPERT_LOAD, 1)
    return [
        ops.GEMM("product", mixtures, shape.num_experts, hidden, common.GEMMQuantMode.bfloat16),
        ops.MoE("experts", mixtures, hidden, shape.intermediate_size, *load),
        *_gated(kernels, model, model.shared_intermediate_size, mixtures),
        *_gated(kernels, model, model.dense_intermediate_size, shape.num_dense_layers),
    ]


def _gated(kernels: KernelDatabase, model: ModelOnGpus, size: int, layers: int) -> list[Any]:
    """A gated MLP of ``layers`` layers; nothing where it has no size."""
    if not size or not layers:
        return []
    ops, hidden = kernels.operations, model.geometry.hidden_size
    mode = kernels.common.GEMMQuantMode[PRODUCT_NAME[model.geometry.weight_dtype]]
    return [
        ops.GEMM("product", layers, 2 * size, hidden, mode),
        ops.GEMM("product", layers, hidden, size, mode),
        ops.ElementWise("activation", layers, 2 * size, size, ELEMENT_WISE_SHARE),
    ]


class _GroupedAttention:
    """Attention over key and value heads: kernels for decoding and for prompts."""

    fixed_s = 0.0

    def __init__(self, kernels: KernelDatabase, model: ModelOnGpus) -> None:
        shape, ops, common = model.geometry, kernels.operations, kernels.common
        heads, kv_heads, layers, head_size = (
            model.num_heads,
            model.num_kv_heads,
            shape.num_attention_layers,
            shape.head_size,
        )
        queries = shape.query_width // model.tensor_parallel
        mode = common.GEMMQuantMode[PRODUCT_NAME[shape.weight_dtype]]
        kv_mode = common.KVCacheQuantMode[KERNEL_NAME[shape.kv_dtype]]
        self.products = [
            ops.GEMM("product", layers, queries + 2 * kv_heads * head_size, shape.hidden_size, mode),
            ops.GEMM("product", layers, shape.hidden_size, heads * head_size, mode),
        ]
        decoding = ops.GenerationAttention("decoding", layers, heads, kv_heads, kv_mode, head_size=head_size)
        prefill = ops.ContextAttention(
            "prefill", layers, heads, kv_heads, kv_mode, common.FMHAQuantMode.bfloat16, head_size=head_size
        )
        self._kernels = kernels
        self._decoding, self._prefill = kernels.kernel(decoding), kernels.kernel(prefill)

    def read_s(self, sequences: int, context: int) -> float:
        return self._kernels.seconds(self._decoding, sequences, sequences, context + 1)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        return self._kernels.seconds(self._prefill, sequences * queries, sequences, queries, context)


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
        mode = common.GEMMQuantMode[PRODUCT_NAME[shape.weight_dtype]]
        self.products = [
            ops.GEMM("product", layers, latent.query_rank + latent.cached_values, hidden, mode),
            ops.GEMM(
                "product", layers, heads * (latent.nope_size + latent.rope_size), latent.query_rank, mode
            ),
            ops.GEMM("product", layers, heads * (latent.nope_size + latent.value_size), latent.kv_rank, mode),
            ops.GEMM("product", layers, hidden, heads * latent.value_size, mode),
        ]
        block_mode = common.GEMMQuantMode[KERNEL_NAME[shape.weight_dtype]]
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
        return sum(self._kernels.seconds(kernel, tokens) for kernel in self._projections)
