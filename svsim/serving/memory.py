"""KV blocks of a replica, from what its GPUs hold beside the models; and requests that can never fit.

One pool: a block holds the KV of ``block_size`` tokens of every model that the method runs. Layers with a
window keep at most the window of the longest request. Recurrent states are set aside for ``max_num_seqs``.
"""

from svsim.decoding.method import DecodingMethod
from svsim.engines.binding import Deployment
from svsim.errors import InfeasibleError, InputError
from svsim.feasibility import memory_plans
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import GpuDataSheet
from svsim.latency.memory import MAX_PREFILL_TOKENS, VOCABULARY_COPIES, MemoryPlan
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.model import LatencyModel
from svsim.latency.pass_work import VOCABULARY_VALUE_BYTES
from svsim.latency.shape import Role
from svsim.serving.settings import (
    MAX_BATCHED_TOKENS,
    MAX_NUM_SEQS,
    SchedulerSettings,
    drafting_slots,
    lookahead,
    num_scheduled,
)

ENDLESS_BLOCKS = 1 << 40  # where memory is not modelled
GIB = 2**30


def default_limits(gpu: GpuDataSheet | None) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens) of vLLM's server on a GPU (``get_batch_defaults``)."""
    if gpu is None:
        return 256, 8192
    # data sheets count in powers of ten what the driver reports as about as many GiB less 7 %
    is_large = gpu.memory_bytes >= 75e9 and not gpu.name.startswith("a100")
    if is_large and gpu.memory_bytes >= 170e9:
        return 1024, 16384
    return (1024, 8192) if is_large else (256, 2048)


def calibrated_limits(latency: LatencyModel) -> tuple[int, int]:
    """(sequences, new tokens) of a pass at most, where the prices end and beyond is an error."""
    most_seqs, most_tokens = MAX_NUM_SEQS, MAX_BATCHED_TOKENS
    if not isinstance(latency, MixedLatencyModel):
        return most_seqs, most_tokens
    for role in latency.roles:
        box = latency.pass_costs(role).box
        if box and box.choice == "raise":
            most_seqs = min(most_seqs, int(box.valid_range.num_sequences[1]))
            most_tokens = min(most_tokens, int(box.valid_range.num_new_tokens[1]))
    return most_seqs, most_tokens


def kv_blocks(
    known: dict[Role, ModelGeometry],
    deployment: Deployment,
    method: DecodingMethod,
    settings: SchedulerSettings,
    gpu_memory_utilization: float,
    longest: int,
) -> int | None:
    """Blocks of one replica; None where memory is not modelled.

    longest: tokens of the longest request. InfeasibleError where the models leave no room.
    """
    plans = memory_plans(known, deployment, method, gpu_memory_utilization)
    found = [
        _blocks(plan, method, deployment, settings, longest) for plan in plans if plan is not None
    ]  # every group of devices holds the sequences' KV of its models
    return min(found) if len(found) == len(plans) else None


def _blocks(
    plan: MemoryPlan,
    method: DecodingMethod,
    deployment: Deployment,
    settings: SchedulerSettings,
    longest: int,
) -> int:
    """Blocks of one group of devices."""
    room_bytes = _room_bytes(plan, settings)
    block_bytes = settings.block_size * sum(
        (model.full_kv_bytes_per_token + _window_bytes(plan, role, longest)) / model.num_replicas
        for role, model in plan.models.items()
    )
    num_blocks = int(room_bytes // block_bytes) if block_bytes > 0 else ENDLESS_BLOCKS
    if num_blocks < 1:
        raise InfeasibleError(
            f"{method.label} on {deployment.name}: {plan.named} and what drafts take "
            f"{plan.weight_bytes / 1e9:,.1f} GB of the {plan.usable_bytes / 1e9:,.1f} GB usable of one GPU, "
            f"and workspace for {settings.max_num_seqs} sequences leaves no KV block; take more GPUs (tp=N), "
            "a larger one, or a smaller `max_num_seqs`"
        )
    return num_blocks


def _window_bytes(plan: MemoryPlan, role: Role, longest: int) -> float:
    model = plan.models[role]
    window = model.geometry.window
    if not window:
        return 0.0
    return model.window_kv_bytes_per_token * min(1.0, window.window_tokens / max(longest, 1))


def _room_bytes(plan: MemoryPlan, settings: SchedulerSettings) -> float:
    """What weights, activations at T, rows over the vocabulary and recurrent states leave."""
    k, tokens = plan.num_speculative_tokens, settings.max_num_batched_tokens
    rows = {Role.TARGET: k + 1, Role.DRAFT: k, Role.COMPANION: k}
    set_aside = plan.activation_bytes * tokens / MAX_PREFILL_TOKENS
    for role, model in plan.models.items():
        here = -(-settings.max_num_seqs // model.num_replicas)
        values = min(here * rows[role], tokens) * VOCABULARY_COPIES[role] * model.geometry.vocabulary_size
        set_aside += values * VOCABULARY_VALUE_BYTES + here * model.state_bytes_per_sequence(k)
    return plan.usable_bytes - plan.weight_bytes - set_aside


def check_request_fits(
    deployment: Deployment,
    method: DecodingMethod,
    settings: SchedulerSettings,
    num_blocks: int,
    request: tuple[int, int],
) -> None:
    """Refuse what never fits: a request (prompt, output) larger than the cache, a budget without a token."""
    prompt, output = request
    draft, k = deployment.priced(method).work.draft, num_scheduled(method)
    slots = drafting_slots(draft, k)
    if settings.max_num_batched_tokens <= slots:
        raise InputError(
            f"`max_num_batched_tokens` {settings.max_num_batched_tokens} leaves no token beside the {slots} "
            f"that {method.label} takes to draft; expected at least {slots + 1}"
        )
    steps_planned = 2 if settings.scheduling == "async" else 1
    tokens = prompt + output + steps_planned * k + lookahead(draft, k)
    needed = -(-tokens // settings.block_size)
    if needed > num_blocks:
        raise InfeasibleError(
            f"{method.label} on {deployment.name}: a request of {prompt:,} + {output:,} tokens needs "
            f"{needed:,} KV blocks of {settings.block_size}, and a replica has {num_blocks:,}; the longest "
            f"that fits has {max(num_blocks * settings.block_size - tokens + prompt + output, 0):,} tokens: "
            "take more memory (tp=N, `kv_blocks`), or shorter requests"
        )
