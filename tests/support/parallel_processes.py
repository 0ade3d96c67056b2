"""PEARL as two processes: a draft and a target that each hold their own copy of the text.

Written from the mechanism alone: the draft never waits for the verdict on what it drafts on, the target
verifies what it was sent before, and both meet at the end of a step. It knows nothing of PRE and POST.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product

# -- with given randomness: a token and a coin belong to a place of the text ------------------------------


@dataclass
class DraftProcess:
    """Extends its copy of the text, verified or not."""

    next_token: object  # text -> token
    text: list

    def run(self, gamma):
        for _ in range(gamma):
            self.text.append(self.next_token(tuple(self.text)))
        return self.text[-gamma:]

    def correct(self, text):
        """Forget what was built on a rejected token."""
        self.text = list(text)


@dataclass
class TargetProcess:
    """Holds emitted text, and drafted tokens behind it that no pass has verified."""

    verdict: object  # (text, token) -> (whether it is accepted, the token in its place)
    text: list
    waiting: list = field(default_factory=list)

    def run(self, first_of_next):
        """A pass over the last token and the waiting ones judges those, and the one that comes next."""
        judged, emitted = [*self.waiting, first_of_next], []
        for token in judged:
            is_accepted, other = self.verdict((*self.text, *emitted), token)
            emitted.append(token if is_accepted else other)
            if not is_accepted:
                return len(judged), emitted, False
        return len(judged), emitted, True


def two_processes(next_token, verdict, prompt, gamma, num_tokens):
    """(text, [(tokens read by the target, tokens emitted)] of every step)."""
    draft, target = DraftProcess(next_token, list(prompt)), TargetProcess(verdict, list(prompt))
    steps = []
    while len(target.text) < len(prompt) + num_tokens:
        block = draft.run(gamma)
        num_read, emitted, all_stand = target.run(block[0])
        target.text += emitted
        target.waiting = block[1:] if all_stand else []
        if not all_stand:
            draft.correct(target.text)
        steps.append((num_read, len(emitted)))
    return target.text[len(prompt) :], steps


# -- with all randomness summed: tiny models --------------------------------------------------------------


def served(models, gamma, num_tokens):
    """Law of (text, starts of steps) of the two processes on ``TinyModels``, as a dict."""
    law = defaultdict(float)

    def judged(text, tokens):
        """Ways that tokens in a row are judged: (emitted, whether all stand, probability)."""
        if not tokens:
            return [((), True, 1.0)]
        here = models.after(text)
        accept = here.accept_prob(tokens[:1], 0)
        ways = [
            ((tokens[0], *more), stands, accept * prob)
            for more, stands, prob in (judged((*text, tokens[0]), tokens[1:]) if accept > 0.0 else [])
        ]
        if accept < 1.0:
            recovered = here.recovered_law(tokens[:1], 0)
            ways += [((t,), False, (1.0 - accept) * r) for t, r in enumerate(recovered) if r > 0.0]
        return ways

    def step(text, waiting, starts, prob):
        if len(text) >= num_tokens:
            law[text[:num_tokens], starts] += prob
            return
        before = (*text, *waiting)
        for block in product(range(models.vocabulary), repeat=gamma):
            drafted = 1.0
            for place, token in enumerate(block):
                drafted *= models.q[len(before) + place][(*before, *block[:place])][token]
            if drafted == 0.0:
                continue
            for emitted, stands, chance in judged(text, (*waiting, block[0])):
                after = block[1:] if stands else ()
                step((*text, *emitted), after, (*starts, len(text)), prob * drafted * chance)

    step((), (), (), 1.0)
    return law


def replayed(models, walk, num_tokens):
    """The same law as a replay shows it: the bits of a coherent recording, and ``walk``(bits) -> starts."""
    law = defaultdict(float)

    def grow(text, bits, prob):
        if len(text) == num_tokens:
            law[text, tuple(walk(bits))] += prob
            return
        here = models.after(text)
        for token, drafted in enumerate(here.q[0]):
            accept = here.accept_prob((token,), 0)
            grow((*text, token), (*bits, True), prob * drafted * accept) if drafted * accept > 0.0 else None
            if drafted * (1.0 - accept) > 0.0:
                for other, r in enumerate(here.recovered_law((token,), 0)):
                    if r > 0.0:
                        grow((*text, other), (*bits, False), prob * drafted * (1.0 - accept) * r)

    grow((), (), 1.0)
    return law
