"""What fits into GPU memory: weights, KV cache and workspace on the fullest GPU of a deployment.

The target is split over ``tensor_parallel`` GPUs; draft and companion live whole on the first of them,
which therefore is the fullest. As vLLM does, a server may use a share of each GPU
(``gpu_memory_utilization``, 0.9); what that leaves after weights and workspace holds the KV cache.

Workspace, stated rather than measured: activations of the largest prefill chunk (of one layer: four
hidden-size vectors, the gate and up outputs and their product, per token), and float32 rows over the
vocabulary: probabilities and their copy for B + BK verified tokens, q kept for BK draft tokens, c for
BK companion tokens. The context of the driver, captured graphs and allocator losses live in the tenth
that the server does not use.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from svsim.errors import LatencyError
from svsim.latency.geometry import BYTES_PER_VALUE
from svsim.latency.hardware import GpuDataSheet
from svsim.latency.pass_work import VOCABULARY_VALUE_BYTES, ModelOnGpus
from svsim.latency.shape import Role

GPU_MEMORY_UTILIZATION = 0.9
# vLLM's default for online serving on a GPU of 70 GiB or more (max_num_batched_tokens).
MAX_PREFILL_TOKENS = 8192
HIDDEN_VECTORS, INTERMEDIATE_VECTORS = 4, 3
VOCABULARY_COPIES = {Role.TARGET: 2, Role.DRAFT: 1, Role.COMPANION: 1}
# A batch's KV cache fits if its mean plus so many standard deviations does.
KV_DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class KvDemand:
    """Contexts of running sequences, in tokens: mean and standard deviation at a random moment, longest.

    ``varies_by_itself``: sequences are at unrelated points of unrelated requests, so that a batch's
    total is close to its mean; otherwise all may be at their longest at once.
    """

    mean: float
    deviation: float
    longest: float
    varies_by_itself: bool = True

    @classmethod
    def of_length(cls, context: float) -> "KvDemand":
        """Every sequence at one context length."""
        return cls(context, 0.0, context)

    def tokens(self, batch_size: int) -> float:
        """KV tokens to hold for a batch: its mean + 3 standard deviations, at most all at the longest."""
        most = batch_size * self.longest
        if not self.varies_by_itself:
            return most
        return min(most, batch_size * self.mean + KV_DEVIATIONS * math.sqrt(batch_size) * self.deviation)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Memory of the fullest GPU when these models run with K = ``num_speculative_tokens``."""

    gpu: GpuDataSheet
    models: Mapping[Role, ModelOnGpus]
    num_speculative_tokens: int = 0
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION

    def __post_init__(self) -> None:
        if not 0.0 < self.gpu_memory_utilization <= 1.0:
            raise LatencyError(
                f"gpu_memory_utilization = {self.gpu_memory_utilization:g}; expected a share, 0 < share <= 1"
            )

    @property
    def usable_bytes(self) -> float:
        """What the server may use of one GPU."""
        return self.gpu.memory_bytes * self.gpu_memory_utilization

    @property
    def weight_bytes(self) -> float:
        """The target's share and the whole draft and companion."""
        return float(sum(model.weight_bytes for model in self.models.values()))

    @property
    def activation_bytes(self) -> float:
        """Activations of the largest prefill chunk; models run one after another."""
        return max(
            MAX_PREFILL_TOKENS
            * BYTES_PER_VALUE
            * (
                HIDDEN_VECTORS * model.geometry.hidden_size
                + INTERMEDIATE_VECTORS
                * model.intermediate_size
                * max(model.geometry.num_experts_per_token, 1)
            )
            for model in self.models.values()
        )

    @property
    def kv_bytes_per_token(self) -> float:
        """KV cache of one token in all models."""
        return float(sum(model.kv_bytes_per_token for model in self.models.values()))

    @property
    def bytes_per_sequence(self) -> float:
        """Per running sequence besides its context: K + 1 KV slots, and rows over the vocabulary."""
        k = self.num_speculative_tokens
        rows = {Role.TARGET: k + 1, Role.DRAFT: k, Role.COMPANION: k}
        vocabulary = sum(
            rows[role] * VOCABULARY_COPIES[role] * model.geometry.vocabulary_size
            for role, model in self.models.items()
        )
        return float((k + 1) * self.kv_bytes_per_token + vocabulary * VOCABULARY_VALUE_BYTES)

    @property
    def room_bytes(self) -> float:
        """What is left for sequences; negative if the weights alone do not fit."""
        return self.usable_bytes - self.weight_bytes - self.activation_bytes

    def fits(self, batch_size: int, demand: KvDemand) -> bool:
        """Whether a batch fits without preemption."""
        kv_bytes = demand.tokens(batch_size) * self.kv_bytes_per_token
        return kv_bytes + batch_size * self.bytes_per_sequence <= self.room_bytes

    def largest_batch(self, demand: KvDemand) -> int:
        """The largest batch that fits, 0 if none does. The memory of a batch grows with its size."""
        most = max(int(self.room_bytes // self.bytes_per_sequence), 0)
        low = 0
        while low < most:
            middle = (low + most + 1) // 2
            low, most = (middle, most) if self.fits(middle, demand) else (low, middle - 1)
        return low

    def why_not(self, batch_size: int, demand: KvDemand) -> str:
        """One line: what a GPU offers, what the models take, and the largest batch."""
        target = self.models[Role.TARGET]
        largest = self.largest_batch(demand)
        remedy = (
            f"the largest batch that fits is {largest}"
            if largest
            else "no batch fits; take more GPUs (tp=N) or larger ones"
        )
        return (
            f"{self.gpu.name}:tp={target.tensor_parallel} cannot hold {target.geometry.name} at batch "
            f"{batch_size} and {demand.mean:,.0f} tokens of context: weights take "
            f"{self.weight_bytes / 1e9:,.1f} GB of the {self.usable_bytes / 1e9:,.1f} GB usable of one GPU "
            f"({self.gpu_memory_utilization:.0%}), a sequence "
            f"{(demand.mean * self.kv_bytes_per_token + self.bytes_per_sequence) / 1e9:.2f} GB; {remedy}"
        )
