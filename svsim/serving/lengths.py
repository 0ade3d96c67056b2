"""How long prompts and outputs are: laws by name, or the requests of the trace itself.

``trace``      the trace's own requests: prompt, output and acceptance belong together.
``fixed``      P prompt and O output tokens. ``uniform``: whole numbers from floor(P (1 - r)) to ceil(P (1 +
               r)), outputs alike, at least 1 (vLLM bench's ``random`` data set).
``lognormal``  means and coefficients of variation: P/O/cv or P/O/cvP/cvO, at least 1 token.
``normal``     means, standard deviations and longest: P/O/sdP/sdO/maxP/maxO, the density at 1 to the longest.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable
from svsim.phase_schedules.residency import OutputLengths
from svsim.workload.requests import MAX_TOKENS

EXPECTED = (
    "expected trace, fixed:P/O, uniform:P/O/r, lognormal:P/O/cv[/cv] or normal:P/O/sd/sd/max/max, as "
    "fixed:1024/128"
)
MAX_NORMAL_TOKENS = 1 << 17
_NUM_VALUES = {"fixed": (2,), "uniform": (3,), "lognormal": (3, 4), "normal": (6,)}
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?|\.[0-9]{1,12}")
Lengths = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LengthLaw:
    """A law of prompt and output lengths, in tokens; ``spread`` as the law means it (r, two cv, two sd).

    longest: of prompt and output, where the law has them.
    """

    law: str = "trace"
    prompt: float = 0.0
    output: float = 0.0
    spread: tuple[float, float] = (0.0, 0.0)
    longest: tuple[int, int] = (0, 0)

    @classmethod
    def parse(cls, text: str) -> "LengthLaw":
        """``trace``, ``fixed:1024/128``, ``uniform:1024/128/0.5``, ``lognormal:1024/128/1.2``."""
        name, colon, rest = text.strip().partition(":")
        if name == "trace" and not colon:
            return cls()
        where = f"`lengths` {printable(text, 60)}"
        parts = rest.split("/")
        if name not in _NUM_VALUES or len(parts) not in _NUM_VALUES[name]:
            raise InputError(f"{where}: {EXPECTED}")
        if not all(_NUMBER.fullmatch(part) for part in parts):
            raise InputError(f"{where}: {EXPECTED}")
        prompt, output, *spread = map(float, parts)
        for what, value in (("prompt", prompt), ("output", output)):
            if not 1 <= value <= MAX_TOKENS or (name != "lognormal" and not value.is_integer()):
                raise InputError(f"{where}: {what} {value:g}; expected 1 to {MAX_TOKENS:,} tokens")
        if name == "normal":
            return cls._normal(where, prompt, output, spread)
        most = 1.0 if name == "uniform" else 10.0
        if any(value > most for value in spread):
            raise InputError(f"{where}: spread {max(spread):g}; expected 0 to {most:g}")
        first = spread[0] if spread else 0.0
        return cls(name, prompt, output, (first, spread[-1] if spread else 0.0))

    @classmethod
    def _normal(cls, where: str, prompt: float, output: float, more: list[float]) -> "LengthLaw":
        (sd_prompt, sd_output), longest = more[:2], more[2:]
        if not (sd_prompt > 0 and sd_output > 0):
            raise InputError(f"{where}: standard deviations must be above 0")
        for mean, most in ((prompt, longest[0]), (output, longest[1])):
            if not (mean <= most <= MAX_NORMAL_TOKENS and most.is_integer()):
                raise InputError(
                    f"{where}: longest {most:g}; expected whole tokens, {mean:g} to {MAX_NORMAL_TOKENS:,}"
                )
        return cls("normal", prompt, output, (sd_prompt, sd_output), (int(longest[0]), int(longest[1])))

    @property
    def laws(self) -> tuple[OutputLengths, OutputLengths]:
        """Of ``normal``: the exact laws of prompt and output tokens."""
        sizes = zip((self.prompt, self.output), self.spread, self.longest, strict=True)
        prompt, output = (OutputLengths.truncated_normal(*size) for size in sizes)
        return prompt, output

    @property
    def text(self) -> str:
        """Canonical spelling."""
        if self.law == "trace":
            return "trace"
        spread = {"fixed": (), "uniform": self.spread[:1]}.get(self.law, self.spread)
        longest = self.longest if self.law == "normal" else ()
        values = (self.prompt, self.output, *spread, *longest)
        return f"{self.law}:" + "/".join(f"{value:.12g}" for value in values)

    def draw(self, num: int, rng: np.random.Generator) -> tuple[Lengths, Lengths]:
        """Prompt and output tokens of ``num`` requests, int64 [num] each; not for ``trace``."""
        means = (self.prompt, self.output)
        if self.law == "fixed":
            return tuple(np.full(num, round(mean), np.int64) for mean in means)  # type: ignore[return-value]
        if self.law == "normal":
            drawn = rng.random((num, 2))
            pairs = [
                np.searchsorted(np.cumsum(law.probability), drawn[:, i]) for i, law in enumerate(self.laws)
            ]
            return tuple(  # type: ignore[return-value]
                np.minimum(found + 1, most) for found, most in zip(pairs, self.longest, strict=True)
            )
        # one pair of numbers per request: a longer run begins like a shorter one
        if self.law == "uniform":
            drawn = rng.random((num, 2))
            found = [_uniform(mean, self.spread[0], drawn[:, i]) for i, mean in enumerate(means)]
        else:
            drawn = rng.standard_normal((num, 2))
            found = [
                _lognormal(mean, cv, drawn[:, i])
                for i, (mean, cv) in enumerate(zip(means, self.spread, strict=True))
            ]
        return found[0], found[1]


def _uniform(mean: float, r: float, drawn: NDArray[np.float64]) -> Lengths:
    low, high = max(math.floor(mean * (1.0 - r)), 1), math.ceil(mean * (1.0 + r))
    return np.asarray(np.minimum(low + np.floor(drawn * (high - low + 1)), high), np.int64)


def _lognormal(mean: float, cv: float, drawn: NDArray[np.float64]) -> Lengths:
    variance = math.log1p(cv * cv)
    values = np.exp(math.log(mean) - 0.5 * variance + math.sqrt(variance) * drawn)
    return np.asarray(np.clip(np.rint(values), 1, MAX_TOKENS), np.int64)
