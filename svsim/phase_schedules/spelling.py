"""``rra:be=52,nd=13``, ``rra:be=1-64,law=paper``, ``waa:be=4``; what is left open (``rra``) is searched."""

import re
from dataclasses import dataclass

from svsim.errors import InputError, printable
from svsim.phase_schedules.phase_times import PhaseTimes
from svsim.phase_schedules.residency import Law, OutputLengths
from svsim.phase_schedules.schedules import Box, Kind, Limits, PhaseModel
from svsim.phase_schedules.search import Found, branch_and_bound

EXPECTED = "expected rra:be=52,nd=13[,law=resident|paper] or waa:be=4; a range as be=1-64 is searched"
DEFAULT_BE, DEFAULT_ND = (1, 256), (1, 64)
NO_LIMITS = Limits()
_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class ScheduleAsked:
    """A schedule by name: its kind, the points to choose from, the residency law."""

    kind: Kind
    box: Box
    law: Law = Law.RESIDENT

    @classmethod
    def parse(cls, text: str) -> "ScheduleAsked":
        """See the module. InputError, one line."""
        where = f"`schedule` {printable(text, 60)}"
        kind, _, rest = text.strip().partition(":")
        if kind not in ("rra", "waa"):
            raise InputError(f"{where}: {EXPECTED}")
        known = ("be", "nd", "law") if kind == "rra" else ("be",)
        given: dict[str, str] = {}
        for part in filter(None, rest.split(",")):
            key, _, value = part.partition("=")
            if key not in known or key in given:
                raise InputError(f"{where}: {printable(part, 40)!r}; {EXPECTED}")
            given[key] = value
        law = given.get("law", Law.RESIDENT)
        if law not in set(Law):
            raise InputError(f"{where}: law={printable(law, 40)}; expected resident or paper")
        be = _range(where, "be", given.get("be"), DEFAULT_BE)
        nd = _range(where, "nd", given.get("nd"), DEFAULT_ND) if kind == "rra" else (1, 1)
        return cls("rra" if kind == "rra" else "waa", Box(be, nd), Law(law))

    def plan(
        self, lengths: OutputLengths, prompt_tokens: float, times: PhaseTimes, limits: Limits = NO_LIMITS
    ) -> Found:
        """The schedule of most queries per second within the limits. InfeasibleError if there is none."""
        return branch_and_bound(
            PhaseModel(self.kind, lengths, prompt_tokens, times, self.law), self.box, limits
        )


def _range(where: str, key: str, text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    if text is None:
        return default
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError(f"{where}: {key}={printable(text, 40)}; expected a whole number or a range, as 1-64")
    low = int(match[1])
    return low, int(match[2]) if match[2] is not None else low
