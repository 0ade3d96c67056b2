"""What must hold in a trace, checked on whole columns; the message names the first offending row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from svsim.errors import TraceError, printable
from svsim.trace.method_columns import is_outcome_name, width_of
from svsim.trace.schema import (
    MAX_CONTEXT_TOKENS,
    MAX_REQUEST_ID_CHARS,
    NUM_ACCEPTED,
    NUM_CONTEXT_TOKENS,
    PROBABILITY_TOLERANCE,
    domain,
    is_extra_target_name,
    is_signal_name,
)
from svsim.trace.token_trace import TokenTrace

REMEDY = "write the trace again from whole, ordered requests"


@dataclass(frozen=True, slots=True)
class RowLocator:
    """Names rows in messages: the file, and how to say where row i is."""

    file: str
    describe: Callable[[int], str]

    def fail(self, column: str, row: int, got: object, expected: str, remedy: str = REMEDY) -> NoReturn:
        """Raise the TraceError of one offending row."""
        raise TraceError(
            f"{self.file}: column {column}, {self.describe(row)}: "
            f"got {printable(got, 80)}, expected {expected}; {remedy}"
        )


def check_signal(name: str, values: NDArray[np.float32], locator: RowLocator) -> NDArray[np.float32]:
    """``values`` [n, K] if finite and inside the column's domain; rounding excess is clipped off."""
    low, high = domain(name)
    if values.size == 0:
        return values
    least, most = values.min(), values.max()  # both NaN if any value is
    if low <= least and most <= high and np.isfinite(least) and np.isfinite(most):
        return values
    slack = PROBABILITY_TOLERANCE
    fine = np.isfinite(values) & (values >= low - slack) & (values <= high + slack)
    if not fine.all():
        row, depth = divmod(int(np.argmin(fine)), values.shape[1])
        expected = "a finite number" + ("" if low == -np.inf else f" in {low:g}..{high:g}")
        locator.fail(
            f"{name} (depth {depth + 1})", row, values[row, depth], expected, "record the column again"
        )
    return np.clip(values, low, high)


def check_num_accepted(values: NDArray[Any], num_speculative_tokens: int, locator: RowLocator) -> None:
    """Every recorded accepted length lies in 0..K."""
    if values.size and not (values.min() >= 0 and values.max() <= num_speculative_tokens):
        row = int(np.argmax((values < 0) | (values > num_speculative_tokens)))
        locator.fail(
            NUM_ACCEPTED, row, values[row], f"an integer in 0..{num_speculative_tokens}", "record it again"
        )


def check_request_id(request_id: str, file: str) -> None:
    """Request ids are non-empty and of bounded length."""
    if not request_id or len(request_id) > MAX_REQUEST_ID_CHARS:
        raise TraceError(
            f"{file}: request id {printable(request_id, 40)!r} has {len(request_id)} characters, "
            f"expected 1 to {MAX_REQUEST_ID_CHARS}; give the request a shorter id"
        )


def check_trace(trace: TokenTrace, file: str) -> None:
    """A TokenTrace in memory obeys the rules of the file; TraceError names ``file`` and the row."""
    k, bounds = trace.num_speculative_tokens, trace.first_position
    if trace.num_requests == 0 or len(bounds) != trace.num_requests + 1 or bounds[0] != 0:
        raise TraceError(f"{file}: the trace holds no requests or its bounds do not fit them; {REMEDY}")
    if (np.diff(bounds) < 1).any():
        empty = trace.request_ids[int(np.argmax(np.diff(bounds) < 1))]
        raise TraceError(f'{file}: request "{printable(empty, 60)}" has no output positions; leave it out')
    for request_id in trace.request_ids:
        check_request_id(request_id, file)
    try:
        "".join((*trace.request_ids, *(trace.tasks or ()))).encode("utf-8")
    except UnicodeEncodeError as error:
        raise TraceError(
            f"{file}: a request id or task is no Unicode text ({error.reason}); rename it"
        ) from None
    columns = signal_columns(trace)
    wrong = [name for name in trace.observable.signals if not is_signal_name(name)]
    wrong += [name for name in trace.target.outcomes if not is_outcome_name(name)]
    wrong += [name for name in trace.target.extra if not is_extra_target_name(name)]
    if wrong:
        raise TraceError(
            f"{file}: {printable(wrong[0], 60)!r} cannot name a column; use letters, digits and _, "
            "and target_ in front of what only the target knows"
        )
    for name, values in columns.items():
        shape = trace.num_positions, width_of(name, trace.metadata.widths)
        if values.shape != shape or shape[1] == 0:
            raise TraceError(
                f"{file}: column {name} has shape {values.shape}, expected {shape}; record it again"
            )
    if trace.target.num_accepted.shape != (trace.num_positions,):
        raise TraceError(
            f"{file}: column {NUM_ACCEPTED} does not hold one value per position; record it again"
        )
    prompts = trace.num_prompt_tokens
    if prompts.min() < 0 or (prompts + np.diff(bounds)).max() > MAX_CONTEXT_TOKENS:
        raise TraceError(
            f"{file}: column {NUM_CONTEXT_TOKENS}: a request leaves 0..{MAX_CONTEXT_TOKENS}; leave it out"
        )

    def describe(row: int) -> str:
        request = int(np.searchsorted(bounds, row, side="right")) - 1
        return f'request "{printable(trace.request_ids[request], 60)}", position {row - bounds[request]}'

    locator = RowLocator(file, describe)
    check_num_accepted(trace.target.num_accepted, k, locator)
    for name, values in columns.items():
        check_signal(name, values, locator)


def signal_columns(trace: TokenTrace) -> dict[str, NDArray[np.float32]]:
    """All list columns of both halves in file order: observable signals first, target columns last."""
    target = {"accept_prob": trace.target.accept_prob, "target_overlap": trace.target.target_overlap}
    return {
        **{name: trace.observable.signals[name] for name in sorted(trace.observable.signals)},
        **{name: values for name, values in target.items() if values is not None},
        **{name: trace.target.outcomes[name] for name in sorted(trace.target.outcomes)},
        **{name: trace.target.extra[name] for name in sorted(trace.target.extra)},
    }
