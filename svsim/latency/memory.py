"""What fits into GPU memory: weights, KV cache and workspace on the fullest GPU of a group.

The target is split over ``tensor_parallel`` GPUs. Draft and companion live whole on the first of them,
or whole on each with a slice of the batch's sequences (replicated), or split like the target; the first
GPU is the fullest in every case. Models on devices of their own have a plan of their own. As vLLM does, a
server may use a share of each GPU (``gpu_memory_utilization``, 0.9); what that leaves after weights and
workspace holds the KV cache.

Workspace, stated rather than measured: activations of the largest prefill chunk (of one layer: four
hidden-size vectors, the gate and up outputs and their product, per token), and float32 rows over the
vocabulary: probabilities and their copy for B + BK verified tokens, q kept for BK draft tokens, c for
BK companion tokens (of a replicated model: its slice's). The context of the driver, captured graphs and
allocator losses live in the tenth that the server does not use.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from svsim.errors import LatencyError
from svsim.latency.hardware import GpuDataSheet
from svsim.latency.pass_work import VOCABULARY_VALUE_BYTES, ModelOnGpus
from svsim.latency.precision import BYTES_PER_VALUE
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

    def within(self, window_tokens: int) -> "KvDemand":
        """What layers with a window keep of it: an upper bound where contexts lie on both its sides."""
        deviation = self.deviation if self.mean < window_tokens else 0.0
        mean, longest = min(self.mean, window_tokens), min(self.longest, window_tokens)
        return KvDemand(mean, deviation, longest, self.varies_by_itself)

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
        """The target's share, and the draft and companion, whole or their shares."""
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
                * max(
                    model.intermediate_size * max(model.geometry.num_experts_per_token, 1)
                    + model.shared_intermediate_size,
                    model.dense_intermediate_size,
                )
            )
            for model in self.models.values()
        )

    def batch_bytes(self, batch_size: int, demand: KvDemand) -> float:
        """Memory of a running batch: contexts, K + 1 KV slots and recurrent states, vocabulary rows.

        A replicated model holds the largest slice of the batch on each GPU.
        """
        k = self.num_speculative_tokens
        rows = {Role.TARGET: k + 1, Role.DRAFT: k, Role.COMPANION: k}
        total = 0.0
        for role, model in self.models.items():
            here = -(-batch_size // model.num_replicas)
            tokens = demand.tokens(here) + here * (k + 1)
            values = here * rows[role] * VOCABULARY_COPIES[role] * model.geometry.vocabulary_size
            total += tokens * model.full_kv_bytes_per_token + values * VOCABULARY_VALUE_BYTES
            if model.geometry.window:
                kept = demand.within(model.geometry.window.window_tokens).tokens(here) + here * (k + 1)
                total += kept * model.window_kv_bytes_per_token
            total += here * model.state_bytes_per_sequence(k)
        return total

    @property
    def room_bytes(self) -> float:
        """What is left for sequences; negative if the weights alone do not fit."""
        return self.usable_bytes - self.weight_bytes - self.activation_bytes

    def fits(self, batch_size: int, demand: KvDemand) -> bool:
        """Whether a batch fits without preemption."""
        return self.batch_bytes(batch_size, demand) <= self.room_bytes

    def largest_batch(self, demand: KvDemand) -> int:
        """The largest batch that fits, 0 if none does. The memory of a batch grows with its size."""
        low, most = 0, 1
        while self.fits(most, demand):
            low, most = most, 2 * most
        while low < most:
            middle = (low + most + 1) // 2
            low, most = (middle, most) if self.fits(middle, demand) else (low, middle - 1)
        return low

    @property
    def named(self) -> str:
        """The target, or what else has these GPUs."""
        return self._main.geometry.name

    @property
    def _main(self) -> ModelOnGpus:
        return self.models.get(Role.TARGET) or next(iter(self.models.values()))

    def why_not(self, batch_size: int, demand: KvDemand) -> str:
        """One line: what a GPU offers, what the models take, and the largest batch."""
        main, alone = self._main, KvDemand.of_length(demand.mean)
        largest = self.largest_batch(demand)
        remedy = (
            f"the largest batch that fits is {largest}"
            if largest
            else "no batch fits; take more GPUs (tp=N) or larger ones"
        )
        return (
            f"{self.gpu.name}:tp={main.tensor_parallel} cannot hold {main.geometry.name} at batch "
            f"{batch_size} and {demand.mean:,.0f} tokens of context: weights take "
            f"{self.weight_bytes / 1e9:,.1f} GB of the {self.usable_bytes / 1e9:,.1f} GB usable of one GPU "
            f"({self.gpu_memory_utilization:.0%}), a sequence {self.batch_bytes(1, alone) / 1e9:.2f} GB; "
            f"{remedy}"
        )
