"""Speculative retrieval one document at a time, as the paper's algorithm reads: slow, plain, independent."""

import random


def literal_request_s(
    a, b, gamma, documents, stride, *, per_query=0.0, regenerate=False, overlap=False, seed=0
):
    """Seconds of one request.

    The clock moves with every speculation; guesses lie in a list until a verification walks through them.
    """
    coin = random.Random(seed)
    clock, settled, guesses = 0.0, 0, []
    while settled < documents:
        while len(guesses) < stride and settled + len(guesses) < documents:
            clock += a
            guesses.append(coin.random() < gamma)
        wait = b + per_query * (len(guesses) - 1)
        if False not in guesses:
            settled += len(guesses)
            guesses = []
            if overlap and settled < documents:
                guesses = [coin.random() < gamma]  # made while the verification ran
                wait = max(wait, a)
            clock += wait
            continue
        clock += wait
        settled += guesses.index(False) + 1  # the verification brings the missed one
        guesses = []
        if regenerate:
            clock += a
    return clock


def literal_os3_s(a, b, gamma, documents, *, window=5, gamma_max=0.6, max_stride=8, overlap=False, seed=0):
    """Seconds of one request whose stride follows what its last verifications found."""
    coin = random.Random(seed)
    clock, settled, stride, ready, past = 0.0, 0, 1, 0, []
    while settled < documents:
        s = min(stride, documents - settled)
        matched = 0
        while matched < s and coin.random() < gamma:
            matched += 1
        clock += (s - ready) * a
        settled += matched if matched == s else matched + 1
        ready = int(overlap and matched == s and settled < documents)
        clock += max(a, b) if ready else b
        past.append((matched, s))
        recent = past[-window:]
        total = sum(m for m, _ in recent)
        rate = min(total / (total + sum(m < t for m, t in recent)), gamma_max)
        stride = max(range(1, max_stride + 1), key=lambda t: _objective(a, b, rate, t, overlap))
    return clock


def _objective(a, b, gamma, s, overlap):
    """Documents per second, as the paper writes it."""
    progress = sum(gamma**i for i in range(s))
    if not overlap:
        return progress / (s * a + b)
    return progress / (gamma**s * ((s - 1) * a + max(a, b)) + (1 - gamma**s) * (s * a + b))
