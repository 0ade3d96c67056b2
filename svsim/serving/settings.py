"""How a replica schedules: the options of a server, and the integers that the compiled scheduler reads."""

from dataclasses import dataclass
from typing import Literal

from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import ParallelPipeline
from svsim.decoding.work import DraftWork, Schedule
from svsim.errors import require
from svsim.serving.scheduler import Admission, Order, Victim
from svsim.serving.state import Rules

MAX_NUM_SEQS = 16_384
MAX_BATCHED_TOKENS = 1 << 18
MAX_MODEL_LEN = 1 << 40
SchedulerName = Literal["vllm", "sglang", "trtllm"]
# order of work, test of admission, victim of preemption
SCHEDULERS: dict[str, tuple[Order, Admission, Victim]] = {
    "vllm": (Order.MIXED, Admission.FITS_NOW, Victim.LAST),
    "sglang": (Order.PREFILL_FIRST, Admission.RATIO, Victim.FEWEST_TOKENS),
    "trtllm": (Order.MIXED, Admission.CAN_FINISH, Victim.LAST),
}


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Options of one replica, by vLLM's names.

    scheduler: whose order of work, admission and victim. max_num_seqs: running requests at most;
    max_num_batched_tokens: new tokens of a step at most. block_size: tokens of a KV block. watermark: share
    of the blocks that admission leaves free while something runs. long_prefill_token_threshold: most new
    tokens of one request while there are others (0: no limit). reserve_full_isl: a prompt is let in if all of
    it fits.
    policy: ``fcfs`` or ``priority``. scheduling: ``sync``, or ``async`` (two steps in flight).
    prefill_is_free: prompts cost nothing and take no step (to compare with the closed loop).
    """

    scheduler: SchedulerName = "vllm"
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    block_size: int = 16
    watermark: float = 0.0
    long_prefill_token_threshold: int = 0
    reserve_full_isl: bool = True
    policy: Literal["fcfs", "priority"] = "fcfs"
    scheduling: Literal["sync", "async"] = "sync"
    prefill_is_free: bool = False

    def __post_init__(self) -> None:
        for name, value, most in (
            ("max_num_seqs", self.max_num_seqs, MAX_NUM_SEQS),
            ("max_num_batched_tokens", self.max_num_batched_tokens, MAX_BATCHED_TOKENS),
            ("block_size", self.block_size, 1 << 16),
        ):
            require(1 <= value <= most, f"`{name}` {value} is out of range; expected 1 to {most:,}")
        require(
            0.0 <= self.watermark < 1.0,
            f"`watermark` {self.watermark:g} is out of range; expected 0 to below 1",
        )
        require(
            self.long_prefill_token_threshold >= 0,
            f"`long_prefill_token_threshold` {self.long_prefill_token_threshold}; expected at least 0",
        )

    def rules(self, method: DecodingMethod, draft: DraftWork, num_blocks: int) -> Rules:
        """For a method's steps and a cache of so many blocks."""
        order, admission, victim = SCHEDULERS[self.scheduler]
        k = num_scheduled(method)
        return Rules(
            int(order),
            int(admission),
            int(victim),
            self.policy == "priority",
            self.scheduling == "async",
            self.prefill_is_free,
            self.max_num_seqs,
            self.max_num_batched_tokens,
            self.block_size,
            num_blocks,
            int(self.watermark * num_blocks),
            self.long_prefill_token_threshold,
            self.reserve_full_isl,
            MAX_MODEL_LEN,
            k,
            lookahead(draft, k),
            drafting_slots(draft, k),
        )


def num_scheduled(method: DecodingMethod) -> int:
    """Draft tokens that a step may verify beside one per request."""
    pipeline = method.pipeline
    return pipeline.longest if isinstance(pipeline, ParallelPipeline) else method.num_speculative_tokens


def lookahead(draft: DraftWork, k: int) -> int:
    """KV slots beyond a step's tokens that a drafter writes to: K; a block one more; n-gram none (vLLM)."""
    if not draft.has_passes:
        return 0
    return k + 1 if draft.schedule is Schedule.BLOCK else k


def drafting_slots(draft: DraftWork, k: int) -> int:
    """Slots of the second token budget that drafting takes per request (vLLM ``config/speculative.py``).

    A draft model takes 1; heads and n-gram none. Parallel drafters of K slots (PARD, P-EAGLE) are blocks of a
    model of their own.
    """
    if not draft.is_model:
        return 0
    return k if draft.schedule is Schedule.BLOCK else 1
