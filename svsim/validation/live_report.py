"""What a live run is asked and what it found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from svsim.device.extras import Device
from svsim.errors import require
from svsim.metrics.accuracy import Accuracy
from svsim.trace_capture.settings import SamplingSettings
from svsim.validation.two_samples import LawTest

METHODS = ("td", "sd:k=3", "sd:k=5", "sv:k=7", "sv-lossless:k=7")


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """One live run of a trained triplet (``svsim.training.triplet``).

    folder:        the triplet: target/, draft/, companion/ and prompts_<task>.jsonl.
    num_repeats:   live runs of every method over the same prompts, with different random numbers.
    num_law_texts: texts per method behind one prompt, of num_law_tokens tokens each, for the test of laws.
    """

    folder: Path
    scratch: Path
    task: str = "mixed"
    methods: tuple[str, ...] = METHODS
    batch_size: int = 8
    max_requests: int | None = None
    num_output_tokens: int = 64
    num_speculative_tokens: int = 8
    num_repeats: int = 4
    num_law_texts: int = 512
    num_law_tokens: int = 8
    num_timed: int = 8
    sampling: SamplingSettings = field(default_factory=lambda: SamplingSettings(temperature=0.7))
    seed: int = 0
    device: Device = "cpu"
    command: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_output_tokens", "num_repeats", "num_law_texts", "num_timed"):
            require(getattr(self, name) >= 1, f"{name} = {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One method: what the replay says of the captured trace, and what the live run did.

    Acceptance lengths count the bonus token and whole last steps; standard errors over requests.
    law: test of the method's texts against target-only decoding's; None for td itself.
    """

    method: str
    lossless: bool
    predicted_tok_s: float
    measured_tok_s: float
    measured_standard_error: float | None
    predicted_acceptance_length: float
    measured_acceptance_length: float
    acceptance_length_standard_error: float
    predicted_verification_length: float
    measured_verification_length: float
    law: LawTest | None


@dataclass(frozen=True, slots=True)
class LiveReport:
    """Rows, errors of goodput, and where it all comes from."""

    rows: tuple[LiveRow, ...]
    accuracy: Accuracy
    about: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [asdict(row) for row in self.rows]
        return {"kind": "live run", **self.about, **self.accuracy.to_dict(), "live_rows": rows}


def usual_live_methods(num_speculative_tokens: int) -> tuple[str, ...]:
    """Of the usual methods, those whose chains are captured."""
    return tuple(text for text in METHODS if int(text.partition("k=")[2] or 0) <= num_speculative_tokens)
