"""What ``svsim info`` found in a trace: sizes, acceptance, information, checks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from svsim.metrics.acceptance import DepthAcceptance, FixedLength, LagCorrelation
from svsim.metrics.information import Information
from svsim.metrics.trace_checks import Check

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens per request over all requests."""

    mean: float
    median: float
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """One task: its size in the whole trace; of the sample, how often the first draft token is accepted
    (over all positions) and the mean acceptance length of SD(K)."""

    task: str
    num_requests: int
    num_positions: int
    first_token_acceptance: float | None
    mean_acceptance_length: float | None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the trace is, and how much of it the other numbers rest on (``num_read_*``)."""

    num_requests: int
    num_positions: int
    num_speculative_tokens: int
    num_read_requests: int
    num_read_positions: int
    prompt_tokens: TokenCounts
    output_tokens: TokenCounts
    tasks: tuple[TaskSummary, ...]
    signals: tuple[str, ...]
    target_columns: tuple[str, ...]
    step_times: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """How acceptance moves along the output; None where the trace cannot say.

    request_spread       standard deviation between requests (of one task) of their mean acceptance.
    drift                change of acceptance from the first to the last output token (a line's slope).
    wrong_prefix_decay   1 - (mean a after a rejected token of a chain / mean a at the same places on the
                         true prefix).
    """

    autocorrelation: tuple[LagCorrelation, ...]
    request_spread: float | None
    drift: float | None
    wrong_prefix_decay: float | None


@dataclass(frozen=True, slots=True)
class SlowSteps:
    """SD(k) at one batch size: the share of its steps that emit fewer tokens per second than TD would.

    A step is slow when (tokens emitted by the batch) / (time of the step) < batch_size / (time of a TD
    step). Times are mean step times of the replay; tokens of the sequences are independent.
    """

    k: int
    batch_size: int
    slow_share: float
    step_time_s: float
    td_step_time_s: float


@dataclass(frozen=True, slots=True)
class TraceInformation:
    """The answer of ``svsim.info``; ``trace`` holds provenance as plain JSON values."""

    version: str
    trace: Mapping[str, Any]
    config: Mapping[str, Any]
    sizes: Sizes
    by_depth: tuple[DepthAcceptance, ...]
    fixed_lengths: tuple[FixedLength, ...]
    course: Course
    deployment: str | None
    slow_steps: tuple[SlowSteps, ...]
    information: Information | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: plain values, undefined is None."""
        document = asdict(self)
        return {"svsim": document.pop("version"), **document}

    def to_frame(self) -> "pd.DataFrame":
        """Acceptance by depth as a data frame, one row per depth (``DepthAcceptance``)."""
        import pandas as pd

        return pd.DataFrame([asdict(depth) for depth in self.by_depth])
