"""Seconds of one model's pass as token curve plus attention surface, fitted to scattered rows.

Words
-----
token curve          seconds that depend on the new tokens n of the pass alone: matrix products,
                     element-wise work, all-reduce, logits, sampling, and everything constant. It
                     never decreases and has a knot at every measured n, so it keeps the stairs of
                     graph padding and tiles.
attention surface    seconds added by reading the KV cache: B sequences of mean context c. Bilinear
                     between knots of B and c, never decreasing in c. Zero at the smallest B and c,
                     where its constant is counted in the token curve.
query-key pairs      n (c + n / 2B): every new token meets its context and half the new tokens of its
                     sequence. With few queries per sequence attention takes as long as reading the
                     cache, however many they are; with many (prefill) as long as its pairs.
pass = token curve(n) + max(attention surface(B, c), pair_s * pairs)
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from svsim.latency.monotone_fit import isotonic_fit, nonnegative_least_squares
from svsim.latency.step_times import RoleRows
from svsim.latency.valid_range import ValidRange

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

MAX_SEQUENCE_KNOTS = 16
MAX_CONTEXT_KNOTS = 12
MAX_COARSE_TOKEN_KNOTS = 48
NUM_ROUNDS = 5
# Beyond this many robust standard deviations a row loses weight (Huber).
HUBER_WIDTH = 2.0
# Relative noise of one row against which the priors below are weighed.
ROW_NOISE = 0.03
# The fit starts by taking rows of so many queries per sequence as priced by pairs, others by reading: with
# 16-bit values and 8 query heads per KV head an H100 computes as fast as it reads at about 37 queries.
MANY_QUERIES = 32


@dataclass(frozen=True, slots=True)
class FitResiduals:
    """|predicted / measured - 1| over the rows of the fit."""

    num_rows: int
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Prior:
    """Expected value and precision of each coefficient, [P] each."""

    value: Floats
    precision: Floats

    def joined(self, other: "Prior") -> "Prior":
        """This prior's coefficients followed by the other's."""
        return Prior(
            np.concatenate([self.value, other.value]), np.concatenate([self.precision, other.precision])
        )


@dataclass(frozen=True, slots=True)
class PassSurface:
    """A fitted pass (see the module's words).

    tokens [N], token_s [N]: the curve. sequences [I], contexts [J], attention_s [I, J]: the surface,
    with one knot beyond either end of the measured B: in proportion to B down to 0 and up.

    Outside the measured range (``extrapolate``): below the smallest n the curve is constant, above
    the largest it goes on with its mean slope over the upper half; contexts go on linearly with the
    outer segment's slope, never below 0; attention scales in proportion to B.
    """

    tokens: Floats
    token_s: Floats
    tail_slope_s: float
    sequences: Floats
    contexts: Floats
    attention_s: Floats
    pair_s: float
    valid_range: ValidRange
    residuals: FitResiduals

    def predict_s(self, sequences: Floats, tokens: Floats, context: Floats) -> Floats:
        """Seconds of each pass, float64 of the common shape."""
        curve_s = np.interp(tokens, self.tokens, self.token_s)
        curve_s += self.tail_slope_s * np.maximum(tokens - self.tokens[-1], 0.0)
        row, row_share = _place(self.sequences, sequences)
        column, column_share = _place(self.contexts, context)
        flat, num_contexts = self.attention_s.ravel(), len(self.contexts)
        corner = row * num_contexts + column
        lower, upper = flat[corner], flat[corner + num_contexts]
        lower += column_share * (flat[corner + 1] - lower)
        upper += column_share * (flat[corner + num_contexts + 1] - upper)
        lower += row_share * (upper - lower)
        pairs = tokens * (context + 0.5 * tokens / sequences)
        return np.asarray(curve_s + np.maximum(lower, self.pair_s * pairs))


def fit_pass_surface(rows: RoleRows) -> PassSurface:
    """Fit by robust backfitting, in relative error.

    1. A joint non-negative least-squares fit with a coarse token curve separates attention from
       the curve. 2. Alternately: the curve is the isotonic regression of what attention leaves,
       attention the non-negative fit of what the curve leaves; rows far off lose weight (Huber).
    Cells of the surface without rows follow a read cost per KV token common to all.
    """
    tokens, group = np.unique(rows.num_new_tokens, return_inverse=True)
    context = rows.num_kv_tokens / rows.num_sequences
    b_knots = _thinned(np.unique(rows.num_sequences), MAX_SEQUENCE_KNOTS)
    c_knots = _thinned(np.unique(context), MAX_CONTEXT_KNOTS)
    coarse = _ramps(rows.num_new_tokens, _thinned(tokens, MAX_COARSE_TOKEN_KNOTS))
    terms = _AttentionTerms(
        _surface_columns(rows.num_sequences, context, b_knots, c_knots),
        rows.num_new_tokens * (context + 0.5 * rows.num_new_tokens / rows.num_sequences),
    )
    has_many = rows.num_new_tokens >= MANY_QUERIES * rows.num_sequences
    prior = _attention_prior(rows, coarse, b_knots, c_knots)
    coefficients, curve_s = _backfit(rows.seconds, group, coarse, terms, has_many, prior)
    surface = PassSurface(
        tokens,
        curve_s,
        _tail_slope_s(tokens, curve_s),
        np.concatenate([[0.0], b_knots, 2.0 * b_knots[-1:]]),
        c_knots if len(c_knots) > 1 else c_knots[0] + np.array([0.0, 1.0]),
        _attention_grid(coefficients[:-1], len(b_knots), len(c_knots)),
        float(coefficients[-1]),
        ValidRange(_ends(b_knots), _ends(tokens), _ends(c_knots)),
        FitResiduals(0, np.nan, np.nan),
    )
    error = np.abs(surface.predict_s(rows.num_sequences, rows.num_new_tokens, context) / rows.seconds - 1.0)
    median, p95 = np.percentile(error, [50, 95])
    return replace(surface, residuals=FitResiduals(len(error), float(median), float(p95)))


@dataclass(frozen=True, slots=True)
class _AttentionTerms:
    """surface [R, I * J]: seconds per increment of the surface; pairs [R]: query-key pairs."""

    surface: Floats
    pairs: Floats

    def columns(self, is_by_pairs: NDArray[np.bool_]) -> Floats:
        """[R, I * J + 1]: each row is priced by its pairs or by the surface."""
        surface = np.where(is_by_pairs[:, None], 0.0, self.surface)
        return np.hstack([surface, np.where(is_by_pairs, self.pairs, 0.0)[:, None]])


def _backfit(  # noqa: PLR0917
    seconds: Floats,
    group: Groups,
    coarse: Floats,
    terms: _AttentionTerms,
    is_by_pairs: NDArray[np.bool_],
    prior: Prior,
) -> tuple[Floats, Floats]:
    """Increments of the surface and the pair cost, [I * J + 1], and the token curve, [N]."""
    num_coarse = coarse.shape[1]
    flat = Prior(np.zeros(num_coarse), np.full(num_coarse, (1e-4 / np.median(seconds)) ** 2))
    joint_columns = np.hstack([coarse, terms.columns(is_by_pairs)])
    joint = _ridge_fit(joint_columns, seconds, 1.0 / seconds, flat.joined(prior))
    coefficients, weight = joint[num_coarse:], 1.0 / seconds
    for _ in range(NUM_ROUNDS):
        read_s, work_s = terms.surface @ coefficients[:-1], terms.pairs * coefficients[-1]
        attention_s = np.maximum(read_s, work_s)
        curve_s = _token_curve(seconds - attention_s, weight, group)
        weight = _huber_weights((curve_s[group] + attention_s) / seconds - 1.0) / seconds
        columns = terms.columns(work_s > read_s)
        coefficients = _ridge_fit(columns, seconds - curve_s[group], weight, prior)
    attention_s = np.maximum(terms.surface @ coefficients[:-1], terms.pairs * coefficients[-1])
    return coefficients, _token_curve(seconds - attention_s, weight, group)


def _place(knots: Floats, values: Floats) -> tuple[Groups, Floats]:
    """Segment number and (unclipped) share along it, for linear interpolation and extrapolation."""
    left = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 2)
    return left, (values - knots[left]) / (knots[left + 1] - knots[left])


def _ends(knots: Floats) -> tuple[float, float]:
    return float(knots[0]), float(knots[-1])


def _thinned(knots: Floats, at_most: int) -> Floats:
    """At most so many of the sorted knots, both ends kept."""
    if len(knots) <= at_most:
        return knots
    return knots[np.linspace(0, len(knots) - 1, at_most).round().astype(np.int64)]


def _ramps(values: Floats, knots: Floats) -> Floats:
    """[R, J]: ones, then per segment a ramp from 0 to 1: non-negative weights give a rising curve."""
    ramps = np.ones((len(values), len(knots)))
    ramps[:, 1:] = np.clip((values[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)
    return ramps


def _hats(values: Floats, knots: Floats) -> Floats:
    """[R, I]: linear interpolation weights on the knots."""
    return np.stack([np.interp(values, knots, unit) for unit in np.eye(len(knots))], axis=1)


def _surface_columns(sequences: Floats, context: Floats, b_knots: Floats, c_knots: Floats) -> Floats:
    """[R, I * J]: hat of B knot i times ramp of context segment j."""
    columns = _hats(sequences, b_knots)[:, :, None] * _ramps(context, c_knots)[:, None, :]
    return columns.reshape(len(context), -1)


def _attention_prior(rows: RoleRows, coarse: Floats, b_knots: Floats, c_knots: Floats) -> Prior:
    """Prior of the I * J increments of the surface and of the pair cost.

    An increment is expected to be one read cost per KV token (of a fit of coarse curve + cost * KV
    tokens), give or take as much again; one row of the table weighs as much as the prior.
    """
    typical_s = float(np.median(rows.seconds))
    kv_scale = max(float(rows.num_kv_tokens.max()), 1.0)
    columns = np.hstack([coarse, rows.num_kv_tokens[:, None] / kv_scale])
    num = columns.shape[1]
    flat = Prior(np.zeros(num), np.full(num, (1e-4 / typical_s) ** 2))
    read_s = _ridge_fit(columns, rows.seconds, 1.0 / rows.seconds, flat)[-1] / kv_scale
    value = np.zeros((len(b_knots), len(c_knots)))
    value[:, 1:] = read_s * b_knots[:, None] * np.diff(c_knots)
    precision = (ROW_NOISE / (value + 1e-2 * typical_s)) ** 2
    precision[0, 0] = (1e6 / typical_s) ** 2  # counted in the token curve
    most_pairs = float(rows.num_new_tokens.max()) ** 2
    pair_precision = (ROW_NOISE * most_pairs / typical_s) ** 2
    return Prior(np.append(value, 0.0), np.append(precision, pair_precision))


def _ridge_fit(columns: Floats, values: Floats, weight: Floats, prior: Prior) -> Floats:
    """Non-negative x that minimizes |weight (columns x - values)|^2 + precision (x - prior)^2."""
    # unit columns: seconds per pair are 1e9 times smaller than seconds per surface cell
    weighted = columns * weight[:, None]
    gram = weighted.T @ weighted
    gram[np.diag_indices_from(gram)] += prior.precision
    unit = 1.0 / np.sqrt(np.diag(gram))
    moment = weighted.T @ (weight * values) + prior.precision * prior.value
    return unit * nonnegative_least_squares(gram * np.outer(unit, unit), moment * unit)


def _token_curve(left_over_s: Floats, weight: Floats, group: Groups) -> Floats:
    """Seconds at each distinct number of new tokens, float64 [N], never decreasing."""
    mass = np.bincount(group, weight**2).astype(np.float64)
    mean = np.bincount(group, weight**2 * left_over_s) / mass
    return np.maximum(isotonic_fit(mean, mass), 0.0)


def _huber_weights(relative_error: Floats) -> Floats:
    """1 within HUBER_WIDTH robust standard deviations, else the square root of width / distance."""
    distance = np.abs(relative_error)
    width = HUBER_WIDTH * max(1.4826 * float(np.median(distance)), 1e-4)
    return np.sqrt(np.minimum(1.0, width / np.maximum(distance, width)))


def _tail_slope_s(tokens: Floats, curve_s: Floats) -> float:
    """Seconds per new token above the largest n: the mean slope from its half on."""
    if len(tokens) == 1:
        return 0.0
    start = min(int(np.searchsorted(tokens, 0.5 * tokens[-1])), len(tokens) - 2)
    return float((curve_s[-1] - curve_s[start]) / (tokens[-1] - tokens[start]))


def _attention_grid(increments: Floats, num_sequences: int, num_contexts: int) -> Floats:
    """Seconds on the knots, with a row of zeros at B = 0 and twice the last row at twice its B."""
    grid = np.cumsum(increments.reshape(num_sequences, num_contexts), axis=1)
    if num_contexts == 1:
        grid = np.repeat(grid, 2, axis=1)
    return np.vstack([np.zeros_like(grid[:1]), grid, 2.0 * grid[-1:]])
