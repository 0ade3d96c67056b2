"""The verdict in words."""

from collections.abc import Sequence
from itertools import groupby

from svsim.advice.decision import Advice
from svsim.metrics.verdict import Answer


def verdict_sentences(advice: Sequence[Advice]) -> list[str]:
    """One sentence per run of neighbouring batch sizes with one verdict."""
    found = []
    for hardware in dict.fromkeys(one.hardware for one in advice):
        here = sorted((a for a in advice if a.hardware == hardware), key=lambda a: a.batch_size)
        for answer, run in groupby(here, key=lambda a: (a.verdict, a.fits_memory is False)):
            found.append(_sentence(hardware, answer[0], list(run)))
    return found


def _sentence(hardware: str, answer: Answer, run: Sequence[Advice]) -> str:
    where = f"{hardware}, {_span([str(a.batch_size) for a in run])} at once: {answer.value}"
    if run[0].fits_memory is False:
        return f"{where}; it does not fit in memory{' with the drafter' if run[0].goodput_tok_s else ''}."
    known = [a for a in run if a.speedup_vs_td is not None]
    if not known:
        return f"{where}; nothing drafts."
    names = _span(list(dict.fromkeys(method_words(a) for a in known)))
    if len({a.drafter for a in known}) == 1 and known[0].drafter:
        names = names.replace(f" to {known[0].drafter} ", " to ")
    speedups = _span([f"{a.speedup_vs_td:.2f}x" for a in known])
    low, high = min(a.low or 0.0 for a in known), max(a.high or 0.0 for a in known)
    what = {
        Answer.SPECULATE: f" with {names}, {speedups} the speed without",
        Answer.DO_NOT: f"; the best ({names}) is {speedups} the speed without",
        Answer.MEASURE: f"; {names} may be {low:.2f}x to {high:.2f}x the speed without",
    }[answer]
    return f"{where}{what}{'' if answer is Answer.MEASURE else f' (90 %: {low:.2f}x to {high:.2f}x)'}."


def _span(words: Sequence[str]) -> str:
    return words[0] if words[0] == words[-1] else f"{words[0]} to {words[-1]}"


def method_words(advice: Advice) -> str:
    """``eagle3 sd:k=3``."""
    params = ",".join(f"{name}={value}" for name, value in advice.params.items())
    drafter = f"{advice.drafter} " if advice.drafter and advice.method != "td" else ""
    return f"{drafter}{advice.method}{f':{params}' if params else ''}"
