"""A slow closed loop in plain Python, written from the definitions alone.

It shares no code with the compiled engine: sequences are objects, prices are asked of the latency
model pass by pass, and a method is a ``Server``: a function from what is seen to lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from svsim.latency.shape import Role, StepShape

CLOCKS = OVERHEAD, DRAFT, COMPANION, VERIFY, PREFILL = range(5)


def no_seconds():
    return [0.0] * len(CLOCKS)


@dataclass
class Sequence:
    request: int
    position: int
    end: int
    context: int
    owed: int = 1  # emitted tokens that the draft model has not seen
    emitted: int = 1  # since its last draft: what a head reads again
    measured: bool = False
    steps: int = 0
    seconds: list = field(default_factory=no_seconds)
    accepted: int = 0
    verified: int = 0
    drafted: int = 0
    waiting: int = 0  # tokens behind the text that a parallel draft made and nobody judged


@dataclass
class Totals:
    tokens: int = 0
    sequence_steps: int = 0
    accepted: int = 0
    verified: int = 0
    drafted: int = 0
    seconds: list = field(default_factory=no_seconds)  # of sequences; of batches, where they drain
    finished: int = 0


@dataclass
class Step:
    """What is seen when lengths are asked for. Only a bound may look at ``answers``.

    verify_s(e): seconds of verifying e tokens; fixed_s: of what else is known; draft_s: of drafting 0, 1,
    .. K tokens of all, if nothing is drafted yet; accepted, verified: of the last step.
    """

    positions: list
    answers: list
    verify_s: Callable
    fixed_s: float
    draft_s: list
    accepted: int
    verified: int


@dataclass
class Server:
    """A decoding method. ``lengths``: Step -> verification lengths.

    drafts_them: asked before the draft, which is then as long as what is verified. drafter: model, head,
    block, whole_block (paid for k tokens whatever is drafted), early_exit, ngram, target (itself) or fuzzy
    (passes at ``fuzzy`` of a draft model's, and one exact pass over what was emitted and a token more).
    head_share: the head costs this share of the target's pass, else a pass of the draft model; exit_share:
    layers of an early exit; budget: tokens of context that a draft pass reads at most; beside_s: of every
    fuzzy pass. slowdowns: of drafting and verification, two micro-batches beside each other. host: seconds
    per step, sequence and draft pass, else the latency model's overhead. gamma: tokens that a draft on
    devices of its own makes while the target verifies (0: they run one after another); sync_s: of each such
    step. tree: nodes with children at every level below the root, a draft pass each; accepted: of every row,
    in the place of the trace's chains; scan_share: layers that run over the emitted tokens once more.
    """

    k: int
    lengths: Callable
    drafts_them: bool = False
    companion: bool = False
    drafter: str = "model"
    head_share: float | None = None
    exit_share: float = 0.0
    budget: float = float("inf")
    fuzzy: float = 1.0
    beside_s: float = 0.0
    slowdowns: tuple | None = None
    host: tuple | None = None
    gamma: int = 0
    sync_s: float = 0.0
    tree: tuple | None = None
    accepted: list | None = None
    scan_share: float = 0.0


def select(survival, batch_size, cost_s, fixed_s):
    """Best goodput over the greedy order: largest survival first, lowest sequence, shallowest depth."""
    candidates = sorted(
        ((-w, i, d) for i, chain in enumerate(survival) for d, w in enumerate(chain)), key=lambda c: c
    )
    lengths = [0] * batch_size
    total, chosen = 0.0, 0
    best = (batch_size / (fixed_s + cost_s(0)), 0)
    for number, (w, _, _) in enumerate(candidates, 1):
        total -= w
        goodput = (batch_size + total) / (fixed_s + cost_s(number))
        if goodput > best[0] * (1 + 1e-12):
            best = (goodput, number)
    chosen = best[1]
    for _, i, _ in candidates[:chosen]:
        lengths[i] += 1
    return lengths


class Loop:
    """Slots that always hold a sequence. ``with_prefill``: a request is prefilled when it comes."""

    def __init__(self, server, trace, latency, order, measured, with_prefill=False):
        self.server, self.trace, self.latency = server, trace, latency
        self.with_prefill = with_prefill
        self.order, self.measured = order, measured
        self.slots, self.admitted, self.totals = [], 0, Totals()
        self.accepted = self.verified = 0

    def admit(self, skip=0.0):
        request = self.order[self.admitted]
        first, end = (int(x) for x in self.trace.first_position[request : request + 2])
        begin = first + int(skip * (end - first))
        context = int(self.trace.num_prompt_tokens[request]) + begin - first
        measured = self.admitted in self.measured
        self.admitted += 1
        return Sequence(request, begin, end, context, measured=measured)

    def price(self, role, sequences, tokens, kv):
        return float(self.latency.predict_s(StepShape(role, sequences, tokens, kv)))

    def prefill_s(self, requests):
        """All prompts at once, through every model that decodes."""
        tokens = sum(int(self.trace.num_prompt_tokens[r]) for r in requests)
        roles = [Role.TARGET] + [Role.DRAFT] * (self.server.k > 0) + [Role.COMPANION] * self.server.companion
        passes = [self.price(role, len(requests), tokens, 0) for role in roles]
        return (max(passes) if self.server.gamma else sum(passes)) + self.latency.overhead_per_step_s

    def hold_up(self, seconds):
        """A prefill stops everybody who has a slot."""
        for s in self.slots:
            s.seconds[PREFILL] += seconds

    @property
    def host(self):
        return self.server.host or (self.latency.overhead_per_step_s, 0.0, 0.0)

    def draft_pass_s(self, sequences, tokens, kv):
        """One pass of whatever drafts, with its own host time."""
        server, host_s = self.server, self.host[2]
        if server.head_share is not None:
            return server.head_share * self.price(Role.TARGET, sequences, tokens, kv) + host_s
        if server.drafter == "early_exit":
            early = StepShape(Role.TARGET, sequences, tokens, kv, server.exit_share, sequences)
            return float(self.latency.predict_s(early)) + host_s
        if server.drafter == "target":
            return self.price(Role.TARGET, sequences, tokens, kv) + host_s
        return self.price(Role.DRAFT, sequences, tokens, kv) + host_s

    def draft_s(self, lengths):
        """Pass by pass: depth j runs over the sequences that draft more than j tokens; or all in one."""
        seconds, drafter, n = 0.0, self.server.drafter, len(self.slots)
        kv = sum(s.context for s in self.slots)
        if self.server.tree is not None:
            return self.tree_s(n, kv)
        if drafter == "ngram":
            return 0.0
        if drafter == "whole_block":
            return self.draft_pass_s(n, n * self.server.k, kv)
        if drafter == "block":
            return self.draft_pass_s(n, sum(lengths), kv) if sum(lengths) else 0.0
        if drafter in ("model", "fuzzy") and self.latency.draft_is_one_pass:
            return self.draft_pass_s(n, n + sum(lengths), kv) if sum(lengths) else 0.0
        for j in range(max(lengths)):
            still = [s for s, length in zip(self.slots, lengths, strict=True) if length > j]
            first = {"model": lambda s: s.owed, "head": lambda s: s.emitted}
            read = first.get(drafter, lambda s: 1)
            tokens = sum(read(s) if j == 0 else 1 for s in still)
            kv = sum(min(s.context + j, self.server.budget) for s in still)
            pass_s = self.draft_pass_s(len(still), tokens, kv)
            if drafter == "fuzzy":
                pass_s = self.server.fuzzy * pass_s + self.server.beside_s
                if j == 0:
                    pass_s += self.draft_pass_s(len(still), sum(s.emitted + 1 for s in still), kv)
            seconds += pass_s
        return seconds

    def tree_s(self, n, kv):
        """A pass over what was emitted (of heads in the verifying pass: a token each), then one a level."""
        emitted = sum(1 if self.server.drafter == "heads" else s.emitted for s in self.slots)
        seconds, ahead = self.draft_pass_s(n, emitted, kv), n
        for width in self.server.tree:
            seconds += self.draft_pass_s(n, n * width, kv + ahead)
            ahead += n * width
        if self.server.scan_share:
            again = StepShape(Role.TARGET, n, emitted, kv, self.server.scan_share, 0.0)
            seconds += float(self.latency.predict_s(again))
        return seconds

    def companion_s(self):
        if not self.server.companion:
            return 0.0
        tokens = sum(s.owed + self.server.k - 1 for s in self.slots)
        return self.price(Role.COMPANION, len(self.slots), tokens, sum(s.context for s in self.slots))

    def verify_s(self, num_drafted):
        """All tokens through the target; behind an early exit, one of each sequence through all layers and
        the others through the later ones."""
        n, kv, early = len(self.slots), sum(s.context for s in self.slots), self.server.exit_share
        if not early:
            return self.price(Role.TARGET, n, n + num_drafted, kv)
        first = self.latency.predict_s(StepShape(Role.TARGET, n, n, kv, early, 0.0))
        others = self.latency.predict_s(StepShape(Role.TARGET, n, n + num_drafted, kv, 1.0 - early))
        return float(first + others)

    def asked(self, verify_s, fixed_s, draft_s=()):
        return self.server.lengths(
            Step(
                positions=[s.position for s in self.slots],
                answers=[int(self.trace.target.num_accepted[s.position]) for s in self.slots],
                verify_s=cache(verify_s),
                fixed_s=fixed_s,
                draft_s=list(draft_s),
                accepted=self.accepted,
                verified=self.verified,
            )
        )

    def step(self):
        server, n = self.server, len(self.slots)
        overhead_s = self.host[0] + n * self.host[1]
        if server.gamma:
            return self.parallel_step(n, overhead_s)
        drafts = [server.k] * n
        if server.drafts_them:
            by_length = [self.draft_s([length] * n) for length in range(server.k + 1)]
            drafts = lengths = self.asked(self.verify_s, overhead_s, by_length)
        draft_s, companion_s = self.draft_s(drafts), self.companion_s()
        before_s = draft_s + companion_s
        if server.slowdowns is not None:
            draft_slowdown, verify_slowdown = server.slowdowns
            before_s *= draft_slowdown

            def turn_s(num_tokens):
                return max(before_s, verify_slowdown * self.verify_s(num_tokens))

            lengths = self.asked(turn_s, overhead_s)
            verify_s = verify_slowdown * self.verify_s(sum(lengths))
            seen = max(before_s - verify_s, 0.0) / before_s  # the rest hides behind the other's verification
            draft_s, companion_s = (seen * draft_slowdown * part for part in (draft_s, companion_s))
        else:
            if not server.drafts_them:
                lengths = self.asked(self.verify_s, overhead_s + before_s)
            verify_s = self.verify_s(sum(lengths))
        return self.move(drafts, lengths, (overhead_s, draft_s, companion_s, verify_s, 0.0))

    def parallel_step(self, n, overhead_s):
        """Both sides at once: the draft behind all it made, the target over what waits and the last token."""
        gamma, kv = self.server.gamma, sum(s.context for s in self.slots)
        behind = kv + sum(s.waiting for s in self.slots)
        draft_s = sum(self.draft_pass_s(n, n, behind + j * n) for j in range(gamma))
        verify_s = self.price(Role.TARGET, n, n + sum(s.waiting for s in self.slots), kv)
        overhead_s += self.server.sync_s
        seconds = (overhead_s, max(draft_s - verify_s, 0.0), 0.0, verify_s, 0.0)
        for s in self.slots:
            s.steps += 1
            s.seconds = [sum(pair) for pair in zip(s.seconds, seconds, strict=True)]
            s.verified += s.waiting + 1
            s.drafted += gamma
            for _ in range(s.waiting + 1):
                is_accepted = s.position < s.end and int(self.trace.target.num_accepted[s.position]) > 0
                s.position += 1
                s.context += 1
                s.accepted += is_accepted
                if not is_accepted:
                    break
            s.waiting = gamma - 1 if is_accepted else 0

    def move(self, drafts, lengths, seconds):
        self.accepted, self.verified = 0, sum(lengths)
        for s, drafted, length in zip(self.slots, drafts, lengths, strict=True):
            answers = self.trace.target.num_accepted if self.server.accepted is None else self.server.accepted
            kept = min(int(answers[s.position]), length)
            s.owed = s.owed + 1 if drafted == 0 else 1 + (kept == drafted)
            s.emitted = kept + 1 + (s.emitted if drafted == 0 else 0)
            s.steps += 1
            s.seconds = [sum(pair) for pair in zip(s.seconds, seconds, strict=True)]
            s.accepted += kept
            s.verified += length
            s.drafted += drafted
            s.position += kept + 1
            s.context += kept + 1
            self.accepted += kept

    def count(self, s):
        totals = self.totals
        totals.finished += 1
        totals.tokens += int(self.trace.num_output_tokens[s.request])
        totals.sequence_steps += s.steps
        totals.accepted += s.accepted
        totals.verified += s.verified
        totals.drafted += s.drafted

    def count_seconds(self, seconds):
        self.totals.seconds = [sum(pair) for pair in zip(self.totals.seconds, seconds, strict=True)]

    def replace_finished(self):
        for i in reversed(range(len(self.slots))):
            s = self.slots[i]
            if s.position < s.end:
                continue
            if s.measured:
                self.count(s)
                self.count_seconds(s.seconds)
            self.slots[i] = self.admit()
            if self.with_prefill:
                self.hold_up(self.prefill_s([self.slots[i].request]))


def run_static(server, trace, latency, order, batch_size, with_prefill):
    """Batches of consecutive requests, each prefilled at once and run until its last sequence ends."""
    loop = Loop(server, trace, latency, order, range(len(order)))
    for _ in range(len(order) // batch_size):
        loop.slots = [loop.admit() for _ in range(batch_size)]
        if with_prefill:
            loop.hold_up(loop.prefill_s([s.request for s in loop.slots]))
        while loop.slots:
            loop.step()
            for s in loop.slots:
                if s.position >= s.end:
                    loop.count(s)
                    last = s
            loop.slots = [s for s in loop.slots if s.position < s.end]
        loop.count_seconds(last.seconds)
    return loop.totals


def run(server, trace, latency, order, skips, warm_up, num_measured, with_prefill=False):
    """Continuous refill until the measured requests (``num_measured`` after ``warm_up``
    admissions) have finished."""
    loop = Loop(server, trace, latency, order, range(warm_up, warm_up + num_measured), with_prefill)
    for skip in skips:
        loop.slots.append(loop.admit(skip))
        if with_prefill:
            loop.hold_up(loop.prefill_s([loop.slots[-1].request]))
    while loop.totals.finished < num_measured:
        loop.step()
        loop.replace_finished()
    return loop.totals
