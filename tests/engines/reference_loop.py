"""A slow closed loop in plain Python, written from the definitions alone.

It shares no code with the compiled engine: sequences are objects, prices are asked of the latency
model pass by pass, and selection sorts all candidates.
"""

from dataclasses import dataclass, field

from svsim.latency.shape import Role, StepShape


@dataclass
class Sequence:
    request: int
    position: int
    end: int
    context: int
    owed: int = 1
    measured: bool = False
    steps: int = 0
    seconds: float = 0.0
    accepted: int = 0
    verified: int = 0


@dataclass
class Totals:
    tokens: int = 0
    sequence_steps: int = 0
    accepted: int = 0
    verified: int = 0
    sequence_seconds: float = 0.0
    finished: int = 0
    parts: dict[str, float] = field(default_factory=dict)


def select(survival, batch_size, cost_s, fixed_s):
    """Best goodput over the greedy order: largest survival first, lowest sequence, shallowest depth."""
    candidates = sorted(
        ((-w, i, d) for i, chain in enumerate(survival) for d, w in enumerate(chain)), key=lambda c: c
    )
    lengths, best = [0] * batch_size, None
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


def run(  # one argument per thing that the definitions mention
    trace, latency, k, order, skips, warm_up, num_measured, *, plan="all", survival=None, draft_exactly=False
):
    """Continuous refill until the measured requests (``num_measured`` after ``warm_up``
    admissions) have finished."""

    def price(role, sequences, tokens, kv):
        return float(latency.predict_s(StepShape(role, sequences, tokens, kv)))

    batch_size, totals = len(skips), Totals()

    def admit(number, skip):
        request = order[number]
        first, end = int(trace.first_position[request]), int(trace.first_position[request + 1])
        begin = first + int(skip * (end - first))
        measured = warm_up <= number < warm_up + num_measured
        context = int(trace.num_prompt_tokens[request]) + begin - first
        return Sequence(request, begin, end, context, measured=measured)

    slots = [admit(i, s) for i, s in enumerate(skips)]
    admitted = batch_size
    while totals.finished < num_measured:
        accepted = [int(trace.target.num_accepted[s.position]) for s in slots]
        kv = sum(s.context for s in slots)
        fixed = latency.overhead_per_step_s
        lengths = [k] * batch_size
        if plan == "oracle":
            lengths = [min(a, k) for a in accepted]
        drafts = lengths if draft_exactly else [k] * batch_size
        for j in range(max(drafts)):
            still = [s for s, d in zip(slots, drafts, strict=True) if d > j]
            tokens = sum(s.owed if j == 0 else 1 for s in still)
            fixed += price(Role.DRAFT, len(still), tokens, sum(s.context + j for s in still))
        if plan == "select":
            fixed += price(Role.COMPANION, batch_size, sum(s.owed + k - 1 for s in slots), kv)
            lengths = select(
                [survival[s.position] for s in slots],
                batch_size,
                lambda e, kv=kv: price(Role.TARGET, batch_size, batch_size + e, kv),
                fixed,
            )
        seconds = fixed + price(Role.TARGET, batch_size, batch_size + sum(lengths), kv)
        for i, s in enumerate(slots):
            kept = min(accepted[i], lengths[i])
            s.owed = s.owed + 1 if drafts[i] == 0 else 1 + (kept == drafts[i])
            s.steps += 1
            s.seconds += seconds
            s.accepted += kept
            s.verified += lengths[i]
            s.position += kept + 1
            s.context += kept + 1
        for i in sorted((i for i, s in enumerate(slots) if s.position >= s.end), reverse=True):
            s = slots[i]
            if s.measured:
                totals.finished += 1
                totals.tokens += int(trace.num_output_tokens[s.request])
                totals.sequence_steps += s.steps
                totals.accepted += s.accepted
                totals.verified += s.verified
                totals.sequence_seconds += s.seconds
            slots[i] = admit(admitted, 0.0)
            admitted += 1
    return totals


def goodput(totals, batch_size):
    return totals.tokens * batch_size / totals.sequence_seconds
