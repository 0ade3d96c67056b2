"""``joint`` read literally: requests are objects, candidates are sorted lists, every pass is planned in full.

It shares no code with the compiled rule, only the belief's learnt numbers. A step is driven here as well:
who drafts, what is shown, what is verified.
"""

import math
from dataclasses import dataclass, field


@dataclass
class Offset:
    """What a request's tokens told of its logits; ``seen``: how many did."""

    slow: float = 0.0
    fast: float = 0.0
    seen: int = 0


@dataclass
class Request:
    real: Offset = field(default_factory=Offset)
    emitted: int = 0
    steps: int = 0


@dataclass
class Drafting:
    """A sequence in a step. law(d), token(d): the codes there; nothing reads them before they may be seen."""

    request: Request
    owed: int
    limit: int
    law: object
    token: object
    ahead: Offset = None
    worth: float = 0.0
    head: float = 0.0
    group: int = -1
    drafted: int = 0
    length: int = 0

    @property
    def has_head(self):
        return self.drafted > self.length


@dataclass
class Prices:
    """Seconds: verify_s(e) of e draft tokens, draft_s(m) of a pass of m sequences, first_s of the first pass
    with all that is owed, fixed_s of the rest of the step."""

    verify_s: object
    draft_s: object
    first_s: float
    fixed_s: float


def sigmoid(z):
    """At the nearest 128th between -9 and 9."""
    at = math.floor(min(max(z * 128 + 1152.5, 0.0), 2304.0))
    return 1.0 / (1.0 + math.exp(-(at / 128 - 9)))


def level(worth):
    """Worths are compared in steps of a 200th of a token."""
    return min(int(worth * 200), 511)


class Joint:
    """The rule, and what it remembers of the batch."""

    def __init__(self, belief, k, midstop=True):
        self.k, self.midstop, self.kept = k, midstop, belief.filter_[2]
        self.group_logit, self.next_group, self.gains = belief.group_logit_, belief.next_group_, belief.gains_
        self.bias, self.bias_variance = belief.filter_[3], 0.25
        self.tokens = self.sequence_steps = self.extra_pass_s = 0.0
        self.verify_ratio, self.idle = 1.0, 0

    # -- beliefs ---------------------------------------------------------------------------------------------

    def prob(self, offset, logit):
        return sigmoid(self.gains[offset.seen][2] * (logit + (offset.slow + offset.fast + self.bias)))

    def take(self, offset, error):
        offset.slow += self.gains[offset.seen][0] * error
        offset.fast += self.gains[offset.seen][1] * error
        offset.seen = min(offset.seen + 1, len(self.gains) - 1)

    def law_of_next(self, s):
        """(chance, acceptance) of the next token, by its entropy group."""
        return [
            (chance, self.prob(s.ahead, logit))
            for chance, logit in zip(self.next_group[s.group], self.group_logit, strict=True)
        ]

    # -- a step ----------------------------------------------------------------------------------------------

    def step(self, sequences, prices):
        """Draft and verify: sets ``drafted`` and ``length`` of every sequence; the number of passes."""
        self.prices, self.sequences, n = prices, sequences, len(sequences)
        self.begin()
        passes, cut, price = self.plan(0)
        runs, probing = list(sequences), False
        if passes == 0:
            runs = [s for s in sequences if self.idle >= 256 and s.owed <= 8]
            probing = len(runs) > 0
        depth = 0
        while any(s.limit > depth for s in runs):
            runs = [s for s in runs if s.limit > depth]
            for s in runs:
                s.drafted += 1
                code = s.law(depth)
                s.head, s.group = s.worth * self.prob(s.ahead, logit_of(code)), code >> 12
            depth += 1
            if depth == self.k or probing:
                break
            if self.midstop:
                more, cut, price = self.plan(depth)
            else:
                more = passes - depth
            if more <= 0:
                break
            share = self.rate * (prices.draft_s(n) - prices.draft_s(1)) / max(n - 1, 1)
            runs = [s for s in runs if s.limit > depth and self.goes_on(s, cut, price, share)]
            for s in runs:
                self.look(s)
        self.admit(probing)
        return depth

    def begin(self):
        r = self.tokens / self.sequence_steps if self.sequence_steps else 1.0
        means = []
        for s in self.sequences:
            request = s.request
            own = (20 * r + request.emitted) / (20 + request.steps)
            s.worth = min(max(r / own, 0.4), 2.5)
            s.ahead = Offset(request.real.slow, request.real.fast * self.kept, request.real.seen)
            means.append(sum(chance * p for chance, p in self.law_of_next(s)))
        self.rate = self.uniform_rate(sum(s.worth for s in self.sequences), sum(means) / len(means))

    def uniform_rate(self, worth, mean):
        """The most tokens per second of steps that draft the same for everybody."""
        n, prices, rates = len(self.sequences), self.prices, []
        for length in range(self.k + 1):
            passes = [self.pass_s(n, first=j == 0) for j in range(length)]
            seconds = prices.fixed_s + sum(passes) + prices.verify_s(n * length) * self.verify_ratio
            rates.append(worth * sum(mean**j for j in range(length + 1)) / seconds)
        return max(rates)

    def pass_s(self, m, first=False):
        bare_s = self.prices.draft_s(m)
        if first:
            bare_s = bare_s or self.prices.first_s
            bare_s += (self.prices.first_s - bare_s) / 64
        return bare_s + self.extra_pass_s

    def look(self, s):
        """Commit the head, and see the token: as if it were accepted, one token on."""
        p = self.prob(s.ahead, logit_of(s.token(s.length)))
        s.length += 1
        s.worth *= p
        self.take(s.ahead, 1.0 - p)
        s.ahead.fast *= self.kept

    def goes_on(self, s, cut, price, share):
        surplus = sum(chance * max(s.head * p - price, 0.0) for chance, p in self.law_of_next(s))
        return level(s.head) >= cut and (share <= 0.0 or surplus > share)

    def plan(self, depth):
        """(passes to run, level of a head that is committed, price of a verified token)."""
        committed = sum(s.length for s in self.sequences)
        candidates = [(level(s.head), 1.0) for s in self.sequences if s.has_head]
        best, cut, taken = self.best_prefix(candidates, committed)
        passes, price_s, without = 0, 0.0, 0
        active = [s for s in self.sequences if s.drafted == depth and s.limit > depth]
        most = min(2 if self.midstop else self.k, self.k - depth)
        for ahead in range(most if active else 0):
            for s in active:
                law = self.law_of_next(s)
                x = (s.head if s.has_head else s.worth) * sum(c * p for c, p in law) ** ahead
                candidates += [(level(x * p), chance) for chance, p in law]
            price_s += self.pass_s(len(active), first=depth + ahead == 0)
            value, its_cut, its_taken = self.best_prefix(candidates, committed)
            if value - self.rate * price_s > best:
                best, cut, taken, passes = value - self.rate * price_s, its_cut, its_taken, ahead + 1
                without = 0
                if self.midstop:
                    break
            else:
                without += 1
                if without == 3:
                    break
        token_s = self.prices.verify_s(committed + taken) - self.prices.verify_s(committed)
        price = self.rate * self.verify_ratio * token_s / taken if taken else 0.0
        return passes, cut, price

    def best_prefix(self, candidates, committed):
        """(value less price, level of the last one, number) of the best number of the most worthy
        candidates."""
        most = len(self.sequences) * self.k - committed

        def less_price(value, num):
            return value - self.rate * self.verify_ratio * self.prices.verify_s(committed + num)

        best, value, count, num = (less_price(0.0, 0), 512, 0), 0.0, 0.0, 0
        for at in sorted({lev for lev, _ in candidates if lev > 0}, reverse=True):
            worth, here = (at + 0.5) / 200, sum(c for lev, c in candidates if lev == at)
            while num + 1 <= count + here + 1e-6 and num < most:
                num += 1
                now = less_price(value + (num - count) * worth, num)
                if now > best[0]:
                    best = now, at, num
            count += here
            value += here * worth
        return best

    def admit(self, probing):
        """The heads worth most, as many as pay; the first sequences of equals."""
        heads = [s for s in self.sequences if s.has_head]
        committed = sum(s.length for s in self.sequences)
        _, _, num = self.best_prefix([(level(s.head), 1.0) for s in heads], committed)
        for s in heads if probing else sorted(heads, key=lambda s: -level(s.head))[:num]:
            s.length += 1

    # -- what became of it -----------------------------------------------------------------------------------

    def learn(self, kept, extra_pass_s=None, verify_ratio=1.0):
        """``kept``: accepted of each sequence's verified tokens."""
        errors = spread = 0.0
        for s, accepted in zip(self.sequences, kept, strict=True):
            offset = s.request.real
            for d in range(min(accepted + 1, s.length)):
                offset.fast *= self.kept
                p = self.prob(offset, logit_of(s.token(d)))
                error = (d < accepted) - p
                self.take(offset, error)
                errors += error
                spread += p * (1.0 - p)
            if accepted == s.length:
                offset.fast *= self.kept
            s.request.emitted += accepted + 1
            s.request.steps += 1
        verified = sum(s.length for s in self.sequences)
        gain = self.bias_variance / (1.0 + spread * self.bias_variance)
        self.bias += gain * errors
        self.bias_variance = gain + 3e-7 * verified
        self.tokens = 0.995 * self.tokens + sum(kept) + len(kept)
        self.sequence_steps = 0.995 * self.sequence_steps + len(kept)
        self.idle = 0 if verified else self.idle + 1
        self.extra_pass_s = self.extra_pass_s if extra_pass_s is None else extra_pass_s
        self.verify_ratio = verify_ratio


def logit_of(code):
    """Levels of a 256th from -8 on."""
    return (int(code) & 4095) / 256 - 8
