"""Service-level objectives as options spell them: ``ttft:p99=0.5``, ``tpot:mean=0.05``, ``good=0.95``.

``ttft:p99=0.5`` says two things: the 99th percentile shall be at most 0.5 s, and a request is good if its own
TTFT is. ``good=0.95`` asks that share of all requests to be good.
"""

import re
from dataclasses import dataclass

from svsim.errors import InputError, printable

REQUEST_METRICS = ("ttft", "tpot", "e2el", "queue")
METRICS = (*REQUEST_METRICS, "itl_token", "itl_step")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
EXPECTED = (
    f"expected METRIC:STATISTIC=SECONDS with {', '.join(METRICS)} and {', '.join(STATISTICS)}, or "
    "good=SHARE, as ttft:p99=0.5"
)
_SPELT = re.compile(r"(\w+):(\w+)=([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)")
_GOOD = re.compile(r"good=([0-9]*\.?[0-9]+)")


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective; limit in seconds, or (metric ``good``) a share."""

    metric: str
    statistic: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Slo":
        """InputError shows how it is spelt."""
        good, found = _GOOD.fullmatch(text), _SPELT.fullmatch(text)
        where = f"`slo` {printable(text, 60)}"
        if good and 0.0 < float(good[1]) <= 1.0:
            return cls("good", "share", float(good[1]))
        if not found or found[1] not in METRICS or found[2] not in STATISTICS:
            raise InputError(f"{where} is not understood; {EXPECTED}")
        limit = float(found[3])
        if not 0.0 < limit < 1e6:
            raise InputError(f"{where}: {limit:g} s is out of range; expected above 0 (seconds)")
        return cls(found[1], found[2], limit)

    @property
    def is_of_requests(self) -> bool:
        """Whether a single request can meet it."""
        return self.metric in REQUEST_METRICS

    @property
    def column(self) -> str:
        """Name of its number in a row."""
        return "slo_attainment" if self.metric == "good" else f"{self.metric}_s_{self.statistic}"

    def meets(self, number: float | None) -> bool | None:
        """Whether a number of that column meets it; None: not known."""
        if number is None:
            return None
        return number >= self.limit if self.metric == "good" else number <= self.limit

    @property
    def text(self) -> str:
        """As it is spelt."""
        return (
            f"good={self.limit:g}"
            if self.metric == "good"
            else f"{self.metric}:{self.statistic}={self.limit:g}"
        )
