"""Step prices as flat arrays: what the compiled step looks up instead of calling a latency model."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.compiled import compiled
from svsim.latency.model import LatencyModel
from svsim.latency.price_table import lay_out
from svsim.latency.shape import Role


class PriceSheet(NamedTuple):
    """Seconds of one role's passes for every number of sequences that was laid out.

    seconds: float64 [], the tables [G, N] one after another.
    places:  int64 [count + 1, 4], per number of sequences: offset, fewest new tokens, N, G.
    axis:    float64 [count + 1, 2], per number of sequences: lowest mean context, knots per token.
    """

    seconds: NDArray[np.float64]
    places: NDArray[np.int64]
    axis: NDArray[np.float64]


EMPTY_SHEET = PriceSheet(np.zeros(1), np.zeros((1, 4), np.int64), np.zeros((1, 2)))


def lay_out_sheet(
    model: LatencyModel,
    role: Role,
    token_range: dict[int, tuple[int, int]],
    context_range: tuple[float, float],
) -> PriceSheet:
    """Price tables for every number of sequences in ``token_range`` (-> fewest, most new tokens)."""
    top = max(token_range)
    places = np.zeros((top + 1, 4), np.int64)
    axis = np.zeros((top + 1, 2))
    blocks: list[NDArray[np.float64]] = []
    offset = 0
    for count, (fewest, most) in token_range.items():
        table = lay_out(model, role, count, np.arange(fewest, most + 1), *context_range)
        knots, width = table.seconds.shape
        places[count] = offset, fewest, width, knots
        axis[count] = table.context_low, 1.0 / table.context_step
        blocks.append(table.seconds.ravel())
        offset += table.seconds.size
    return PriceSheet(np.concatenate(blocks), places, axis)


@compiled()
def _bracket(sheet, num_sequences, num_kv_tokens):  # type: ignore[no-untyped-def]
    """Offset of the lower context knot's row and the weight of the upper one."""
    x = (num_kv_tokens / num_sequences - sheet.axis[num_sequences, 0]) * sheet.axis[num_sequences, 1]
    knot = min(max(int(x), 0), sheet.places[num_sequences, 3] - 2)
    return sheet.places[num_sequences, 0] + knot * sheet.places[num_sequences, 2], x - knot


@compiled()
def pass_s(sheet, num_sequences, num_new_tokens, num_kv_tokens):  # type: ignore[no-untyped-def]
    """Seconds of one pass. More new tokens than laid out continue with the table's mean slope."""
    row, upper = _bracket(sheet, num_sequences, num_kv_tokens)
    width = sheet.places[num_sequences, 2]
    column = num_new_tokens - sheet.places[num_sequences, 1]
    beyond = column - (width - 1)
    if beyond > 0:
        column = width - 1
    low = row + column
    seconds = sheet.seconds[low] * (1.0 - upper) + sheet.seconds[low + width] * upper
    if beyond > 0 and width > 1:
        first = sheet.seconds[row] * (1.0 - upper) + sheet.seconds[row + width] * upper
        seconds += (seconds - first) / (width - 1) * beyond
    return seconds


@compiled()
def growing_passes_s(sheet, num_sequences, num_kv_tokens, count):  # type: ignore[no-untyped-def]
    """Seconds of ``count`` passes of one new token per sequence, each at one more token of context."""
    per_token = sheet.axis[num_sequences, 1]
    width, top = sheet.places[num_sequences, 2], sheet.places[num_sequences, 3] - 2
    offset = sheet.places[num_sequences, 0] + num_sequences - sheet.places[num_sequences, 1]
    x = (num_kv_tokens / num_sequences - sheet.axis[num_sequences, 0]) * per_token
    seconds = 0.0
    for _ in range(count):
        knot = min(max(int(x), 0), top)
        low = offset + knot * width
        seconds += sheet.seconds[low] + (sheet.seconds[low + width] - sheet.seconds[low]) * (x - knot)
        x += per_token
    return seconds


@compiled()
def pass_row_s(sheet, num_sequences, num_kv_tokens, out):  # type: ignore[no-untyped-def]
    """Seconds of passes of every laid-out number of new tokens, written to ``out``."""
    row, upper = _bracket(sheet, num_sequences, num_kv_tokens)
    width = sheet.places[num_sequences, 2]
    low, high = sheet.seconds[row : row + width], sheet.seconds[row + width : row + 2 * width]
    for e in range(width):
        out[e] = low[e] * (1.0 - upper) + high[e] * upper
