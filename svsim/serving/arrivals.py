"""When requests arrive: laws of arrival on one axis of unit-rate times, so that rates share their numbers.

Every open law maps the unit-rate times u_1 < u_2 < ... of one random stream to seconds by the inverse of its
cumulative rate: two runs that differ in their rate only meet the same u. Words:

``poisson``   gaps exponential. ``gamma``: gaps gamma with shape ``burstiness`` b and mean 1/rate, coefficient
              of variation 1/sqrt(b); b = 1 is poisson, b = inf constant (vLLM bench's ``--burstiness``).
``constant``  a gap of 1/rate. ``ramp``: the rate goes from ``from`` to ``to`` within ``over`` seconds,
              linearly or exponentially in time, and stays there.
``onoff``     poisson while on, silent while off, stays exponential with means ``on`` and ``off`` seconds;
              rate is the mean over both.
``diurnal``   rate (1 + amplitude sin(2 pi t / period)); starts at its mean, rising.
``closed``    ``users`` send a request, wait for its end, think for ``think`` seconds, and send the next: no
              arrival law, the engine makes their times.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError
from svsim.random_streams import RandomStreams
from svsim.serving.spelling import Field, parse_law

MAX_RATE = 1e6  # requests per second
MAX_USERS = 100_000
_RATE = Field(None, 0.0, MAX_RATE, above=True)
_SECONDS = Field(None, 0.0, 1e7, above=True)
_NORMALIZE = Field("no", words=("no", "yes"))
LAWS: Mapping[str, Mapping[str, Field]] = {
    "poisson": {"rate": _RATE, "normalize": _NORMALIZE},
    "gamma": {"rate": _RATE, "burstiness": Field(1.0, 0.0, above=True), "normalize": _NORMALIZE},
    "constant": {"rate": _RATE},
    "ramp": {
        "from": _RATE,
        "to": _RATE,
        "over": _SECONDS,
        "shape": Field("linear", words=("linear", "exponential")),
    },
    "onoff": {"rate": _RATE, "on": _SECONDS, "off": _SECONDS},
    "diurnal": {
        "rate": _RATE,
        "amplitude": Field(0.5, 0.0, 1.0),
        "period": Field(86_400.0, 0.0, 1e8, above=True),
    },
    "closed": {"users": Field(None, 1, MAX_USERS), "think": Field(0.0, 0.0, 1e6)},
}
Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A law of arrival and its parameters, as ``parse`` reads them; ``text`` is its canonical spelling."""

    law: str
    values: Mapping[str, float | str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, text: str) -> "Arrivals":
        """``poisson:rate=4``, ``gamma:rate=4,burstiness=0.5``, ``closed:users=64,think=1``..."""
        law, values = parse_law("arrivals", text, LAWS)
        if law == "closed" and not float(values["users"]).is_integer():
            raise InputError(f"`arrivals` closed: users={values['users']:g} is no whole number")
        return cls(law, MappingProxyType(values))

    @property
    def text(self) -> str:
        """Canonical spelling; what differs from its default."""
        fields = LAWS[self.law]
        said = [
            f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
            for k, v in self.values.items()
            if v != fields[k].default
        ]
        return f"{self.law}:{','.join(said)}"

    @property
    def is_closed(self) -> bool:
        """Whether users wait for their answers."""
        return self.law == "closed"

    @property
    def num_users(self) -> int:
        """Users of a closed loop."""
        return int(self.number("users"))

    @property
    def think_s(self) -> float:
        """Seconds a user of a closed loop thinks."""
        return self.number("think")

    @property
    def rate(self) -> float | None:
        """Mean requests per second in the long run; None where the engine decides it."""
        if self.is_closed:
            return None
        return self.number("to" if self.law == "ramp" else "rate")

    def number(self, key: str) -> float:
        """One numeric parameter."""
        return float(self.values[key])

    def at_rate(self, rate: float) -> "Arrivals":
        """The same law, faster or slower: its mean rate becomes ``rate``."""
        now = self.rate
        if now is None:
            raise InputError("`arrivals` closed has users, no rate")
        scale = rate / now
        changed = {k: self.number(k) * scale for k in ("rate", "from", "to") if k in self.values}
        return Arrivals(self.law, MappingProxyType({**self.values, **changed}))


class ArrivalStream:
    """The arrival times of an open law, as many as asked for, one block after another.

    duration_s is used by ``normalize`` only: the arrivals are stretched so that number round(rate x
    duration) comes at that moment (vLLM bench stretches its requests so that the last arrives at n/rate).
    """

    def __init__(
        self, arrivals: Arrivals, streams: RandomStreams, duration_s: float, replicate: int = 0
    ) -> None:
        self.arrivals = arrivals
        self._gaps = _gaps(arrivals, streams.generator("arrivals", replicate))
        self._clock = _clock(arrivals, streams.generator("arrival stays", replicate))
        self._unit_time, self._scale, self._first = 0.0, 1.0, np.zeros(0)
        if arrivals.values.get("normalize") == "yes":
            num = max(round(arrivals.number("rate") * duration_s), 1)
            self._first = np.cumsum(self._gaps(num))
            self._unit_time, self._scale = float(self._first[-1]), num / float(self._first[-1])

    def next(self, num: int) -> Times:
        """Seconds of the next ``num`` arrivals, float64 [num], never decreasing."""
        kept, self._first = self._first[:num], self._first[num:]
        if missing := num - len(kept):
            times = self._unit_time + np.cumsum(self._gaps(missing))
            self._unit_time = float(times[-1])
            kept = np.concatenate([kept, times])
        return self._clock(kept * self._scale)


def _gaps(arrivals: Arrivals, rng: np.random.Generator) -> Callable[[int], Times]:
    """Gaps of mean 1 between arrivals."""
    if arrivals.law == "constant" or arrivals.values.get("burstiness") == math.inf:
        return np.ones
    if arrivals.law == "gamma":
        shape = arrivals.number("burstiness")
        return lambda num: rng.gamma(shape, 1.0 / shape, num)
    return rng.standard_exponential


def _clock(arrivals: Arrivals, rng: np.random.Generator) -> Callable[[Times], Times]:
    """From unit-rate times to seconds: the inverse of the cumulative rate."""
    number = arrivals.number
    if arrivals.law == "ramp":
        first, last, over_s, shape = number("from"), number("to"), number("over"), arrivals.values["shape"]
        return lambda u: _ramp_s(u, first, last, over_s, shape == "linear")
    if arrivals.law == "onoff":
        return _OnOff(number("rate"), number("on"), number("off"), rng)
    rate = number("rate")
    if arrivals.law == "diurnal":
        amplitude, period_s = number("amplitude"), number("period")
        return lambda u: _diurnal_s(u, rate, amplitude, period_s)
    return lambda u: u / rate


def _ramp_s(u: Times, first: float, last: float, over_s: float, is_linear: bool) -> Times:
    """Inverse of the integral of a rate from ``first`` to ``last`` requests/s within ``over_s`` seconds."""
    if first == last:
        return u / first
    if is_linear:
        slope = (last - first) / over_s
        whole = 0.5 * (first + last) * over_s
        inside = np.minimum(u, whole) * 2.0 / (first + np.sqrt(first**2 + 2.0 * slope * np.minimum(u, whole)))
    else:
        growth = math.log(last / first) / over_s
        whole = (last - first) / growth
        inside = np.log1p(growth * np.minimum(u, whole) / first) / growth
    return np.where(u <= whole, inside, over_s + (u - whole) / last)


class _OnOff:
    """Unit-rate time passes while on only; stays are drawn as far as the times ask."""

    def __init__(self, rate: float, on_s: float, off_s: float, rng: np.random.Generator) -> None:
        self.rate_while_on = rate * (on_s + off_s) / on_s
        self.means, self.rng = (on_s, off_s), rng
        self._on_until = np.zeros(1)  # unit-rate time at the end of every stay on, from 0
        self._begun_s = np.zeros(0)  # seconds at its begin
        self._end_s = 0.0

    def __call__(self, u: Times) -> Times:
        while self._on_until[-1] < u[-1]:
            on, off = (self.rng.standard_exponential(256) * mean for mean in self.means)
            ends = self._end_s + np.cumsum(on + off)
            self._begun_s = np.concatenate([self._begun_s, ends - on - off])
            self._on_until = np.concatenate(
                [self._on_until, self._on_until[-1] + np.cumsum(on * self.rate_while_on)]
            )
            self._end_s = float(ends[-1])
        stay = np.searchsorted(self._on_until, u) - 1
        return np.asarray(self._begun_s[stay] + (u - self._on_until[stay]) / self.rate_while_on)


def _diurnal_s(u: Times, rate: float, amplitude: float, period_s: float) -> Times:
    """Inverse of rate (t + a P / 2 pi (1 - cos(2 pi t / P))), by bisection: it always increases."""
    swing = amplitude * period_s / (2.0 * math.pi)
    high = u / rate
    low = np.maximum(high - 2.0 * swing, 0.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = rate * (middle + swing * (1.0 - np.cos(2.0 * math.pi * middle / period_s))) < u
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(np.maximum.accumulate(0.5 * (low + high)))
