"""A slow scheduler in plain Python, written from the definitions alone: what the compiled one must equal.

It shares no code with the product. Prices and acceptance are functions handed in. One step: plan (running
first, then waiting), run, bookkeeping, as vLLM 0.33 does it (``v1/core/sched/scheduler.py``); ``ahead``: the
next step is planned as one begins. Orders of SGLang and TensorRT-LLM by ``order``, ``admission``, ``victim``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class PlainRequest:
    """A request and where it stands; ``computed``: tokens with KV, ``draft``: tokens to verify, ``flight``:
    tokens that the step now running computes."""

    name: int
    arrival_s: float
    prompt: int
    output: int
    priority: int = 0
    cached: int = 0
    out: int = 0
    computed: int = 0
    draft: int = 0
    flight: int = 0
    blocks: int = 0
    steps: int = 0
    preemptions: int = 0
    scheduled_s: float = math.nan
    first_token_s: float = math.nan
    finish_s: float = math.nan

    @property
    def tokens(self) -> int:
        return self.prompt + self.out

    @property
    def known(self) -> int:
        return self.computed + self.flight

    @property
    def samples(self) -> bool:
        """Whether the running step will emit tokens of it."""
        return self.flight > 0 and self.known >= self.tokens

    @property
    def is_over(self) -> bool:
        return not math.isnan(self.finish_s)


@dataclass(frozen=True)
class PlainSettings:
    """The scheduler's options. k: draft tokens; lookahead: KV slots beyond what is scheduled; drafting_slots:
    charged to the second budget per scheduled request. order: mixed, prefill-first. admission: now, ratio,
    finish. victim: last, fewest. ahead, host_s: the next step is planned, in so many seconds of every step,
    while one runs."""

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
    order: str = "mixed"
    admission: str = "now"
    victim: str = "last"
    ahead: bool = False
    host_s: float = 0.0


@dataclass
class PlainStep:
    """What a step runs: (request, drafts scheduled) of decodes; (request, new, computed) of chunks.

    A chunk is whatever does not verify: part of a prompt, or of what a preempted request computes again.
    scheduled: (request, new tokens). in_vain: decodes of requests that ended after this was planned.
    """

    began_s: float
    scheduled: list[tuple[PlainRequest, int]] = field(default_factory=list)
    decodes: list[tuple[PlainRequest, int]] = field(default_factory=list)
    chunks: list[tuple[PlainRequest, int, int]] = field(default_factory=list)
    preempted: list[PlainRequest] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    in_vain: int = 0
    dropped: int = 0


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
        self.since_preemption = 0  # steps planned

    def run(self, requests: list[PlainRequest]) -> None:
        """Until the last request has finished."""
        coming = sorted(requests, key=lambda r: (r.arrival_s, r.name))
        planned: PlainStep | None = None
        while coming or self.waiting or self.running or planned:
            if not self.waiting and not self.running and not planned:
                self.now_s = max(self.now_s, coming[0].arrival_s)
            while coming and coming[0].arrival_s <= self.now_s:
                self.waiting.append(coming.pop(0))
            planned = self.step(planned)

    def step(self, planned: PlainStep | None = None) -> PlainStep | None:
        """One plan (or the one made before), its price, what came of it; the next plan if made ahead."""
        step, after = planned or self._plan(), None
        if not step.scheduled:
            raise RuntimeError("nothing could be scheduled; a request that never fits must be refused before")
        self._begin(step)
        self.steps.append(step)
        if self.settings.ahead:
            after = self._plan()
        step.accepted = [self.accept(r, drafts) for r, drafts in step.decodes]
        step_s, host_s = self.price(step), self.settings.host_s
        # the host plans while the GPU runs
        self.now_s += max(step_s - host_s, host_s) if self.settings.ahead else step_s
        self._end(step)
        return after if after and after.scheduled else None

    def _begin(self, step: PlainStep) -> None:
        """Sort what was planned into decodes and chunks, as it stands now; it is in flight."""
        step.began_s = self.now_s
        for request, new in step.scheduled:
            if request.is_over:
                step.in_vain += 1
                step.decodes.append((request, new - 1))
            elif request.computed == request.tokens - 1 and request.out > 0:
                step.decodes.append((request, new - 1))
            else:
                step.chunks.append((request, new, request.computed))
            request.flight = new

    def _end(self, step: PlainStep) -> None:
        kept = dict(zip((r.name for r, _ in step.decodes), step.accepted, strict=True))
        for request, new in step.scheduled:
            if request.is_over:
                continue
            request.steps += 1
            if request.flight == 0:  # preempted while it was computed
                step.dropped += 1
                continue
            # a budget too small for the whole chain verifies its head
            drafts = max(0, new + request.computed - request.tokens)
            request.computed += new
            request.draft = request.flight = 0
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

    def _plan(self) -> PlainStep:
        s, step = self.settings, PlainStep(self.now_s)
        whole = (s.max_num_batched_tokens, s.max_num_batched_tokens)
        if s.order == "mixed":
            budgets = self._plan_running(step, whole, lambda request: True)
            if not step.preempted:
                self._admit(step, *budgets)
        else:
            budgets = self._plan_running(step, whole, lambda request: not self._will_decode(request))
            if not step.preempted:
                self._admit(step, *budgets)
            if not step.scheduled:
                self._plan_running(step, whole, self._will_decode)
        if step.scheduled:
            self.since_preemption += 1
        return step

    def _will_decode(self, request: PlainRequest) -> bool:
        return request.samples or (request.known == request.tokens - 1 and request.out > 0)

    def _plan_running(
        self, step: PlainStep, budgets: tuple[int, int], takes_part: Callable[[PlainRequest], bool]
    ) -> tuple[int, int]:
        s, (budget, second), place = self.settings, budgets, 0
        while place < len(self.running) and budget > 0 and second > s.drafting_slots:
            request = self.running[place]
            new = self._new_tokens(request, budget, second) if takes_part(request) else 0
            if new == 0:
                place += 1
                continue
            while self._missing(request, new) > self.free and request in self.running:
                victim = self._victim()
                place -= self.running.index(victim) < place
                self.running.remove(victim)
                for entry in [e for e in step.scheduled if e[0] is victim]:
                    # a victim that was scheduled already gives its tokens back
                    step.scheduled.remove(entry)
                    budget += entry[1]
                    second += entry[1] + s.drafting_slots
                self._preempt(victim, step)
            if request not in self.running:
                if s.policy == "fcfs" and s.victim == "last":
                    break
                continue
            self._schedule(step, request, new)
            budget -= new
            second -= new + s.drafting_slots
            place += 1
        return budget, second

    def _admit(self, step: PlainStep, budget: int, second: int) -> None:
        s = self.settings
        while (
            self.waiting and budget > 0 and second > s.drafting_slots and len(self.running) < s.max_num_seqs
        ):
            request = self._head()
            if request.computed == 0 and request.cached:
                request.computed = min(request.cached, request.tokens - 1) // s.block_size * s.block_size
            new = self._new_tokens(request, budget, second)
            kept_free = int(s.watermark * s.num_blocks) if self.running else 0
            if new == 0 or self._needed(request, new) > self.free - kept_free:
                request.computed = 0
                return
            self.waiting.remove(request)
            self.running.append(request)
            if math.isnan(request.scheduled_s):
                request.scheduled_s = step.began_s
            self._schedule(step, request, new)
            budget -= new
            second -= new + s.drafting_slots

    def _head(self) -> PlainRequest:
        if self.settings.policy == "fcfs":
            return self.waiting[0]
        return min(self.waiting, key=lambda r: (r.priority, r.arrival_s, r.name))

    def _schedule(self, step: PlainStep, request: PlainRequest, new: int) -> None:
        missing = self._missing(request, new)
        self.free -= missing
        request.blocks += missing
        step.scheduled.append((request, new))

    def _new_tokens(self, request: PlainRequest, budget: int, second: int) -> int:
        s = self.settings
        new = request.tokens + request.draft - request.known
        if request.samples:  # one token at least will be there, and K drafts: their places are planned
            new = 0 if request.out + 1 >= request.output else 1 + s.k
        several = len(self.running) + len(self.waiting) > 1
        if 0 < s.long_prefill_token_threshold < new and several:
            new = s.long_prefill_token_threshold
        return max(min(new, budget, second - s.drafting_slots, s.max_model_len - request.known - 1), 0)

    def _missing(self, request: PlainRequest, new: int) -> int:
        s = self.settings
        held = min(request.known + new + s.lookahead, s.max_model_len)
        return max(math.ceil(held / s.block_size) - request.blocks, 0)

    def _needed(self, request: PlainRequest, new: int) -> int:
        """Free blocks that let a request in."""
        s = self.settings
        needed = self._missing(request, new)
        if s.reserve_full_isl or s.admission != "now":
            needed = max(needed, math.ceil(request.tokens / s.block_size))
        if s.admission == "now":
            return needed
        others = sum(max(self._reserved(r) - r.blocks, 0) for r in self.running)
        return max(needed, self._reserved(request)) + others

    def _reserved(self, request: PlainRequest) -> int:
        """Blocks kept for a request: of all that it may hold at its end, or of a falling share of it."""
        s, left = self.settings, request.output - request.out
        if s.admission == "finish":
            # the most it ever holds: a step begins with one token missing, writes one at least, and in its
            # plan stand K drafts (ahead: of two steps) and the lookahead
            most = request.prompt + request.output - 1 + s.k * (1 + s.ahead) + s.lookahead
            return math.ceil(most / s.block_size)
        ratio = 0.7 + (0.098 - 0.7) * min(self.since_preemption / 600, 1.0)
        return math.ceil((request.tokens + int(ratio * min(left, 4096)) + s.lookahead) / s.block_size)

    def _victim(self) -> PlainRequest:
        if self.settings.policy == "priority":
            return max(self.running, key=lambda r: (r.priority, r.arrival_s, r.name))
        if self.settings.victim == "fewest":
            return min(reversed(self.running), key=lambda r: r.out)
        return self.running[-1]

    def _preempt(self, victim: PlainRequest, step: PlainStep) -> None:
        self.free += victim.blocks
        victim.blocks = victim.computed = victim.draft = victim.flight = 0
        victim.preemptions += 1
        self.waiting.insert(0, victim)
        self.since_preemption = 0
        step.preempted.append(victim)
