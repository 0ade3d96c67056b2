"""The measured kernels of recurrent layers (gated delta networks), beside a hybrid's attention."""

from typing import Any, Protocol

from svsim.latency.gated_delta_net import GatedDeltaNet
from svsim.latency.kernel_database import PRODUCT_NAME, KernelDatabase
from svsim.latency.pass_parts import MissingKernelError
from svsim.latency.pass_work import MAX_LOGIT_ROWS_PER_SEQUENCE, ModelOnGpus
from svsim.latency.recurrent_layers import RecurrentLayers

# The kernels were measured with float32 states alone.
MEASURED_STATE_VALUE_BYTES = 4
# The database's names, whatever kernel the framework runs for them.
DECODING_KERNELS = ("causal_conv1d_update", "fused_sigmoid_gating_delta_rule_update")
PROMPT_KERNELS = ("causal_conv1d_fn", "chunk_gated_delta_rule")


class Attention(Protocol):
    """One kind of attention over all layers: its projections, and what depends on sequences and contexts."""

    products: list[Any]
    fixed_s: float

    def read_s(self, sequences: int, context: int) -> float:
        """One query per sequence behind ``context`` cached tokens."""
        ...

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        """``queries`` new tokens per sequence behind ``context`` cached ones."""
        ...


class HybridAttention:
    """Recurrent layers (convolution and delta rule, as measured) and the attention of the others.

    Decoding was measured: one state read and one written per sequence. A verification of q tokens reads
    one and writes q, which is the mean of decoding B and B q sequences. The database measured such
    verifications for a sister kernel (Kimi delta attention): see ``calibration/README.md``.
    """

    def __init__(
        self, kernels: KernelDatabase, model: ModelOnGpus, recurrent: RecurrentLayers, attention: Attention
    ) -> None:
        if not isinstance(recurrent, GatedDeltaNet):
            raise MissingKernelError(
                f"{kernels.hardware}: no {type(recurrent).__name__} layers were measured"
            )
        if recurrent.state_value_bytes != MEASURED_STATE_VALUE_BYTES:
            raise MissingKernelError(
                f"{kernels.hardware}: recurrent layers were measured with float32 states alone"
            )
        ops, common, num_gpus = kernels.operations, kernels.common, model.tensor_parallel
        layers, hidden = recurrent.num_layers, model.geometry.hidden_size
        mode = common.GEMMQuantMode[PRODUCT_NAME[model.geometry.mixer_dtype]]
        gates = -(-recurrent.num_gates // num_gpus)
        self._kernels, self._attention = kernels, attention
        self.fixed_s = attention.fixed_s
        self.products = [
            *attention.products,
            ops.GEMM("product", layers, recurrent.projected_width // num_gpus, hidden, mode),
            ops.GEMM("product", layers, gates, hidden, common.GEMMQuantMode.bfloat16),
            ops.GEMM("product", layers, hidden, recurrent.value_width // num_gpus, mode),
        ]
        heads = (
            recurrent.num_key_heads // num_gpus,
            recurrent.key_head_size,
            recurrent.num_value_heads // num_gpus,
            recurrent.value_head_size,
        )

        def described(names: tuple[str, ...], phase: str) -> list[str]:
            return [
                kernels.kernel(
                    ops.GDNKernel(
                        "recurrence",
                        layers,
                        name,
                        phase,
                        hidden,
                        *heads,
                        recurrent.kernel_size,
                        mamba_ssm_dtype="float32",
                    )
                )
                for name in names
            ]

        self._decoding = described(DECODING_KERNELS, "generation")
        self._prompts = described(PROMPT_KERNELS, "context")

    def read_s(self, sequences: int, context: int) -> float:
        return self._attention.read_s(sequences, context) + self._decoding_s(sequences)

    def prompt_s(self, sequences: int, queries: int, context: int) -> float:
        read_s = self._attention.read_s(sequences, context)
        if queries <= MAX_LOGIT_ROWS_PER_SEQUENCE:
            return read_s + 0.5 * (self._decoding_s(sequences) + self._decoding_s(sequences * queries))
        tokens = sequences * queries
        recurrent_s = sum(self._kernels.seconds(k, tokens, sequences, queries, 0) for k in self._prompts)
        return max(read_s, self._attention.prompt_s(sequences, queries, context)) + recurrent_s

    def _decoding_s(self, sequences: int) -> float:
        return sum(self._kernels.seconds(kernel, sequences, sequences) for kernel in self._decoding)
