"""A slow closed loop in plain Python, written from the definitions alone.

It shares no code with the compiled engine: sequences are objects, prices are asked of the latency
model pass by pass, and a method is a ``Server``: a function from what is seen to lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from svsim.latency.shape import Role, StepShape


@dataclass
class Sequence:
    request: int
    position: int
    end: int
    context: int
    owed: int = 1  # emitted tokens that the draft model has not seen
    emitted: int = 1  # in the last step: what a head reads again
    measured: bool = False
    steps: int = 0
    seconds: float = 0.0
    accepted: int = 0
    verified: int = 0
    drafted: int = 0


@dataclass
class Totals:
    tokens: int = 0
    sequence_steps: int = 0
    accepted: int = 0
    verified: int = 0
    drafted: int = 0
    sequence_seconds: float = 0.0
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

    drafts_them: asked before the draft, which is then as long as what is verified. head_share: the drafter
    is a head that costs this share of the target's pass. slowdowns: of drafting and verification, two
    micro-batches beside each other.
    """

    k: int
    lengths: Callable
    drafts_them: bool = False
    companion: bool = False
    head_share: float | None = None
    slowdowns: tuple | None = None


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
    """Slots that always hold a sequence."""

    def __init__(self, server, trace, latency, order, measured):
        self.server, self.trace, self.latency = server, trace, latency
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

    def draft_s(self, lengths):
        """Pass by pass: depth j runs over the sequences that draft more than j tokens; or all in one."""
        seconds = 0.0
        if self.latency.draft_is_one_pass and self.server.head_share is None:
            if sum(lengths) == 0:
                return 0.0
            n, kv = len(self.slots), sum(s.context for s in self.slots)
            return self.price(Role.DRAFT, n, n + sum(lengths), kv)
        for j in range(max(lengths)):
            still = [s for s, length in zip(self.slots, lengths, strict=True) if length > j]
            kv = sum(s.context + j for s in still)
            if self.server.head_share is not None:
                tokens = sum(s.emitted if j == 0 else 1 for s in still)
                seconds += self.server.head_share * self.price(Role.TARGET, len(still), tokens, kv)
            else:
                tokens = sum(s.owed if j == 0 else 1 for s in still)
                seconds += self.price(Role.DRAFT, len(still), tokens, kv)
        return seconds

    def companion_s(self):
        if not self.server.companion:
            return 0.0
        tokens = sum(s.owed + self.server.k - 1 for s in self.slots)
        return self.price(Role.COMPANION, len(self.slots), tokens, sum(s.context for s in self.slots))

    def verify_s(self, num_drafted):
        n = len(self.slots)
        return self.price(Role.TARGET, n, n + num_drafted, sum(s.context for s in self.slots))

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
        overhead_s = self.latency.overhead_per_step_s
        drafts = [server.k] * n
        if server.drafts_them:
            by_length = [self.draft_s([length] * n) for length in range(server.k + 1)]
            drafts = lengths = self.asked(self.verify_s, overhead_s, by_length)
        before_s = self.draft_s(drafts) + self.companion_s()
        if server.slowdowns is not None:
            draft_slowdown, verify_slowdown = server.slowdowns
            before_s *= draft_slowdown

            def turn_s(num_tokens):
                return max(before_s, verify_slowdown * self.verify_s(num_tokens))

            lengths = self.asked(turn_s, overhead_s)
            seconds = overhead_s + turn_s(sum(lengths))
        else:
            if not server.drafts_them:
                lengths = self.asked(self.verify_s, overhead_s + before_s)
            seconds = overhead_s + before_s + self.verify_s(sum(lengths))
        self.move(drafts, lengths, seconds)

    def move(self, drafts, lengths, seconds):
        self.accepted, self.verified = 0, sum(lengths)
        for s, drafted, length in zip(self.slots, drafts, lengths, strict=True):
            kept = min(int(self.trace.target.num_accepted[s.position]), length)
            s.owed = s.owed + 1 if drafted == 0 else 1 + (kept == drafted)
            s.emitted = kept + 1
            s.steps += 1
            s.seconds += seconds
            s.accepted += kept
            s.verified += length
            s.drafted += drafted
            s.position += kept + 1
            s.context += kept + 1
            self.accepted += kept

    def replace_finished(self):
        for i in reversed(range(len(self.slots))):
            s, totals = self.slots[i], self.totals
            if s.position < s.end:
                continue
            if s.measured:
                totals.finished += 1
                totals.tokens += int(self.trace.num_output_tokens[s.request])
                totals.sequence_steps += s.steps
                totals.accepted += s.accepted
                totals.verified += s.verified
                totals.drafted += s.drafted
                totals.sequence_seconds += s.seconds
            self.slots[i] = self.admit()


def run(server, trace, latency, order, skips, warm_up, num_measured):
    """Continuous refill until the measured requests (``num_measured`` after ``warm_up``
    admissions) have finished."""
    loop = Loop(server, trace, latency, order, range(warm_up, warm_up + num_measured))
    for skip in skips:
        loop.slots.append(loop.admit(skip))
    while loop.totals.finished < num_measured:
        loop.step()
        loop.replace_finished()
    return loop.totals
