"""Which models run on devices of their own, in the caller's words."""

from dataclasses import dataclass

from svsim.errors import printable, require
from svsim.latency.shape import Role

MAX_LINK_S = 10.0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where small models run if not beside the target, in the caller's words; None: beside it.

    draft_hardware, companion_hardware: ``NAME:tp=N``, or a linear latency file that prices that model.
    link_s: seconds that the exchange of tokens adds to a step in which such a model runs.
    """

    draft_hardware: str | None = None
    companion_hardware: str | None = None
    link_s: float = 0.0

    @property
    def hardware(self) -> dict[Role, str]:
        """The hardware of each role that runs elsewhere."""
        said = {Role.DRAFT: self.draft_hardware, Role.COMPANION: self.companion_hardware}
        return {role: text for role, text in said.items() if text is not None}

    def to_dict(self) -> dict[str, str | float]:
        """What was said, as plain values."""
        said = {f"{role}_hardware": text for role, text in self.hardware.items()}
        return {**said, **({"link_s": self.link_s} if self.link_s else {})}

    def check(self) -> None:
        """InputError for what is no hardware, no time, or a time of nothing."""
        for role, text in self.hardware.items():
            require(
                isinstance(text, str),
                f"`{role}_hardware` is {printable(repr(text), 40)}; expected a text, as l40s:tp=2",
            )
        is_time = isinstance(self.link_s, int | float) and not isinstance(self.link_s, bool)
        require(
            is_time and 0.0 <= self.link_s <= MAX_LINK_S,
            f"`link_s` {printable(self.link_s, 40)} is out of range; expected 0 to {MAX_LINK_S:g} seconds",
        )
        require(
            bool(self.hardware) or not self.link_s,
            "`link_s` has no effect: every model runs beside the target; give `draft_hardware` too",
        )

    @property
    def words(self) -> list[str]:
        """What was said, as arguments in Python."""
        return [f"{name}={value!r}" for name, value in self.to_dict().items()]


TOGETHER = Elsewhere()
