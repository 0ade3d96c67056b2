"""What drafting before verification costs SV, and how much of that its published bars do not show.

A serial step lasts as long as its drafts, the companion's pass and the verification together. At the tokens
per step that the replay emits, a published bar leaves a step of ``published_step_s``; what the serial step
lasts beyond that is missing from the bar. Missing more than drafts and companion cost, no overlap is enough:
verification itself must be cheaper, or more is accepted, than the fitted step times and the rule give.

The paper's rule adds tokens while accepted tokens per second of *verification* rise, so it does not see the
serial cost either. ``planning_gain``: what a rule gains that divides by the whole step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from svsim.papers.sv_paper.panels import WHOLE_STEP, PanelResult, Prediction


@dataclass(frozen=True, slots=True)
class SerialCost:
    """One bar of SV at the largest batch, in the base prediction.

    step_s: of the serial step; before_s: of its drafts and companion. planned_length: verified tokens per
    sequence and step when the rule counts the whole step, mean_length: as the paper's rule chooses.
    """

    panel: str
    method: str
    batch_size: int
    step_s: float
    before_s: float
    published_step_s: float
    mean_length: float
    planned_length: float
    planning_gain: float

    @property
    def missing_s(self) -> float:
        """Seconds of the serial step that the bar has no room for."""
        return self.step_s - self.published_step_s

    @property
    def missing_share(self) -> float:
        """Of drafts and companion; above 1: more than all of it."""
        return self.missing_s / self.before_s


def serial_costs(result: PanelResult) -> Iterator[SerialCost]:
    """SV(5) and SV(7) of a panel at its largest batch."""
    planned = result.scenario(WHOLE_STEP)
    for serial in result.sv_at_largest(result.base):
        yield _serial_cost(result.panel.name, serial, planned.of(serial.bar.method, serial.bar.batch_size))


def _serial_cost(panel: str, serial: Prediction, planned: Prediction) -> SerialCost:
    emitted = serial.tok_s * serial.step_s
    return SerialCost(
        panel,
        serial.bar.method,
        serial.bar.batch_size,
        step_s=serial.step_s,
        before_s=serial.step_s - serial.verify_s,
        published_step_s=emitted / serial.bar.tok_s,
        mean_length=serial.mean_verification_length,
        planned_length=planned.mean_verification_length,
        planning_gain=planned.tok_s / serial.tok_s - 1.0,
    )
