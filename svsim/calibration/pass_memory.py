"""What of a calibration fits into a device's memory: how many layers, and which passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from svsim.calibration.pass_layout import PassLayout
from svsim.errors import InfeasibleError
from svsim.latency.geometry import ModelGeometry

if TYPE_CHECKING:
    import torch

# share of the free memory that weights, caches and logits may take; the rest is for the graphs
MEMORY_SHARE = 0.85
# share of the rest that the layers may take where not all of them fit
SUBSET_SHARE = 0.5
# float32 rows of the vocabulary a sampler holds at once
SAMPLING_BYTES_PER_LOGIT = 24


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Layers to hold and the passes whose caches fit beside them."""

    num_layers: int
    layouts: list[PassLayout]


def plan_memory(
    shard: ModelGeometry,
    num_layers: int,
    layouts: Sequence[PassLayout],
    free_bytes: int,
    value_bytes: int = 2,
) -> MemoryPlan:
    """Hold ``num_layers`` if their weights fit, else a subset; drop passes with larger caches.

    ``shard`` is the geometry one device computes. Raises InfeasibleError if not even one layer fits.
    """
    most_rows = max(layout.total_tokens for layout in layouts if not layout.is_prompt)
    embeddings = (1 if shard.has_tied_embeddings else 2) * shard.vocabulary_size * shard.hidden_size
    fixed = value_bytes * embeddings + SAMPLING_BYTES_PER_LOGIT * shard.vocabulary_size * most_rows
    budget = MEMORY_SHARE * free_bytes - fixed
    layer = value_bytes * (shard.attention_weights_per_layer + shard.mlp_weights_per_layer)
    if num_layers * layer > budget:
        num_layers = int(SUBSET_SHARE * budget / layer)
    cache_per_token = 2 * value_bytes * shard.num_kv_heads * shard.head_size * num_layers
    left = budget - num_layers * layer
    kept = [layout for layout in layouts if cache_tokens(layout) * cache_per_token <= left]
    if num_layers < 1 or all(layout.is_prompt for layout in kept):
        raise InfeasibleError(
            f"{shard.name}: not even one layer and its cache fit into {free_bytes / 2**30:.1f} GiB of free "
            "memory; use fewer sequences, shorter contexts or a shard (tensor_parallel)"
        )
    return MemoryPlan(num_layers, kept)


def free_bytes(device: "torch.device", meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Free memory of a GPU, or what Linux says is available to a program; None where neither is known."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def cache_tokens(layout: PassLayout) -> int:
    """KV tokens of a pass, context and new ones, padded to the longest of its sequences."""
    return layout.num_sequences * (layout.context + layout.longest)
