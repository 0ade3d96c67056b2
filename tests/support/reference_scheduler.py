"""A slow scheduler in plain Python, written from the definitions alone: what the compiled one must equal.

It shares no code with the product. Prices and acceptance are functions handed in. One step: plan (running
first, then waiting), run, bookkeeping, as vLLM 0.33 does it (``v1/core/sched/scheduler.py``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class PlainRequest:
    """A request and where it stands; ``computed``: tokens with KV, ``draft``: tokens to verify."""

    name: int
    arrival_s: float
    prompt: int
    output: int
    priority: int = 0
    cached: int = 0
    out: int = 0
    computed: int = 0
    draft: int = 0
    blocks: int = 0
    steps: int = 0
    preemptions: int = 0
    scheduled_s: float = math.nan
    first_token_s: float = math.nan
    finish_s: float = math.nan

    @property
    def tokens(self) -> int:
        return self.prompt + self.out


@dataclass(frozen=True)
class PlainSettings:
    """The scheduler's options. k: draft tokens; lookahead: KV slots beyond what is scheduled; drafting_slots:
    charged to the second budget per scheduled request."""

    max_num_seqs: int = 8
    max_num_batched_tokens: int = 64
    block_size: int = 16
    num_blocks: int = 10**6
    watermark: float = 0.0
    long_prefill_token_threshold: int = 0
    reserve_full_isl: bool = True
    policy: str = "fcfs"
    k: int = 0
    lookahead: int = 0
    drafting_slots: int = 0
    max_model_len: int = 10**9


@dataclass
class PlainStep:
    """What a step runs: (request, drafts scheduled) of decodes; (request, new, computed) of chunks.

    A chunk is whatever does not verify: part of a prompt, or of what a preempted request computes again.
    """

    began_s: float
    decodes: list[tuple[PlainRequest, int]] = field(default_factory=list)
    chunks: list[tuple[PlainRequest, int, int]] = field(default_factory=list)
    preempted: list[PlainRequest] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)


Price = Callable[[PlainStep], float]
Accept = Callable[[PlainRequest, int], int]  # (request, drafts scheduled) -> accepted, at row ``out``


class PlainScheduler:
    """Run requests to their end; ``steps`` keeps what every step did."""

    def __init__(self, settings: PlainSettings, price: Price, accept: Accept) -> None:
        self.settings, self.price, self.accept = settings, price, accept
        self.free = settings.num_blocks
        self.waiting: list[PlainRequest] = []
        self.running: list[PlainRequest] = []
        self.steps: list[PlainStep] = []
        self.now_s = 0.0

    def run(self, requests: list[PlainRequest]) -> None:
        """Until the last request has finished."""
        coming = sorted(requests, key=lambda r: (r.arrival_s, r.name))
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.now_s = max(self.now_s, coming[0].arrival_s)
            while coming and coming[0].arrival_s <= self.now_s:
                self.waiting.append(coming.pop(0))
            self.step()

    def step(self) -> None:
        """One plan, its price, and what came of it."""
        step = PlainStep(self.now_s)
        scheduled = self._plan(step)
        if not scheduled:
            raise RuntimeError("nothing could be scheduled; a request that never fits must be refused before")
        self.steps.append(step)
        step.accepted = [self.accept(r, drafts) for r, drafts in step.decodes]
        self.now_s += self.price(step)
        kept = dict(zip((r.name for r, _ in step.decodes), step.accepted, strict=True))
        for request, new in scheduled:
            request.steps += 1
            # a budget too small for the whole chain verifies its head
            drafts = max(0, new + request.computed - request.tokens)
            request.computed += new
            request.draft = 0
            if request.computed < request.tokens:
                continue
            emitted = kept.get(request.name, 0) + 1
            request.computed -= drafts - (emitted - 1)
            if math.isnan(request.first_token_s):
                request.first_token_s = self.now_s
            request.out = min(request.out + emitted, request.output)
            request.draft = self.settings.k
            if request.out == request.output:
                request.finish_s = self.now_s
                self.free += request.blocks
                request.blocks = 0
                self.running.remove(request)

    def _plan(self, step: PlainStep) -> list[tuple[PlainRequest, int]]:
        s = self.settings
        budget = second = s.max_num_batched_tokens
        scheduled: list[tuple[PlainRequest, int]] = []
        place = 0
        while place < len(self.running) and budget > 0 and second > s.drafting_slots:
            request = self.running[place]
            new = self._new_tokens(request, budget, second)
            if new == 0:
                place += 1
                continue
            fits = True
            while self._missing(request, new) > self.free:
                victim = self._victim()
                self.running.remove(victim)
                for entry in [e for e in scheduled if e[0] is victim]:
                    # a victim that was scheduled already gives its tokens back
                    scheduled.remove(entry)
                    budget += entry[1]
                    second += entry[1] + s.drafting_slots
                    place -= 1
                self._preempt(victim, step)
                if victim is request:
                    fits = False
                    break
            if not fits:
                if s.policy == "fcfs":
                    break
                continue
            missing = self._missing(request, new)
            self.free -= missing
            request.blocks += missing
            scheduled.append((request, new))
            budget -= new
            second -= new + s.drafting_slots
            place += 1
        if not step.preempted:
            self._admit(step.began_s, scheduled, budget, second)
        for request, new in scheduled:
            drafts = max(0, new + request.computed - request.tokens)
            if request.computed == request.tokens - 1 and request.out > 0:
                step.decodes.append((request, drafts))
            else:
                step.chunks.append((request, new, request.computed))
        return scheduled

    def _admit(
        self, now_s: float, scheduled: list[tuple[PlainRequest, int]], budget: int, second: int
    ) -> None:
        s = self.settings
        while (
            self.waiting and budget > 0 and second > s.drafting_slots and len(self.running) < s.max_num_seqs
        ):
            head = 0
            if s.policy == "priority":
                head = min(
                    range(len(self.waiting)),
                    key=lambda i: (
                        self.waiting[i].priority, self.waiting[i].arrival_s, self.waiting[i].name
                    ),
                )  # fmt: skip
            request = self.waiting[head]
            if request.computed == 0 and request.cached:
                request.computed = min(request.cached, request.tokens - 1) // s.block_size * s.block_size
            new = self._new_tokens(request, budget, second)
            kept_free = int(s.watermark * s.num_blocks) if self.running else 0
            whole = math.ceil(request.tokens / s.block_size) if s.reserve_full_isl else 0
            needed = max(self._missing(request, new), whole)
            if new == 0 or needed > self.free - kept_free:
                request.computed = 0
                return
            missing = self._missing(request, new)
            self.waiting.pop(head)
            self.running.append(request)
            self.free -= missing
            request.blocks += missing
            if math.isnan(request.scheduled_s):
                request.scheduled_s = now_s
            scheduled.append((request, new))
            budget -= new
            second -= new + s.drafting_slots

    def _new_tokens(self, request: PlainRequest, budget: int, second: int) -> int:
        s = self.settings
        new = request.tokens + request.draft - request.computed
        several = len(self.running) + len(self.waiting) > 1
        if 0 < s.long_prefill_token_threshold < new and several:
            new = s.long_prefill_token_threshold
        return max(min(new, budget, second - s.drafting_slots, s.max_model_len - request.computed - 1), 0)

    def _missing(self, request: PlainRequest, new: int) -> int:
        s = self.settings
        held = min(request.computed + new + s.lookahead, s.max_model_len)
        return max(math.ceil(held / s.block_size) - request.blocks, 0)

    def _victim(self) -> PlainRequest:
        if self.settings.policy == "fcfs":
            return self.running[-1]
        return max(self.running, key=lambda r: (r.priority, r.arrival_s, r.name))

    def _preempt(self, victim: PlainRequest, step: PlainStep) -> None:
        self.free += victim.blocks
        victim.blocks = victim.computed = victim.draft = 0
        victim.preemptions += 1
        self.waiting.insert(0, victim)
        step.preempted.append(victim)
