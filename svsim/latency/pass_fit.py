"""Fit a ``PassSurface`` to scattered step-time rows: robust backfitting in relative error.

1. A joint non-negative least-squares fit with a coarse token curve separates the curve from the
   other terms. 2. Alternately: the curve is the isotonic regression of what the others leave, the
   others the non-negative fit of what the curve leaves; rows far off lose weight (Huber).
A few rows do, and thousands: what the rows cannot tell follows a weak prior (attention cells: one
read cost per KV token; costs of logit rows and pairs: zero, so they stay in the curve).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from svsim.latency.context_costs import MANY_QUERIES, AttentionCosts, ContextCosts, pairs
from svsim.latency.monotone_fit import isotonic_fit, nonnegative_least_squares
from svsim.latency.pass_surface import FitResiduals, PassSurface, logit_rows
from svsim.latency.step_times import RoleRows
from svsim.latency.valid_range import ValidRange

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

MAX_SEQUENCE_KNOTS = 16
MAX_CONTEXT_KNOTS = 12
MAX_COARSE_TOKEN_KNOTS = 48
NUM_ROUNDS = 5
# Beyond this many robust standard deviations a row loses weight.
HUBER_WIDTH = 2.0
# Relative noise of one row, against which priors are weighed.
ROW_NOISE = 0.03
# Fitted numbers are rounded (seconds on knots, seconds per logit row, seconds per pair): the last bits of
# a threaded matrix product depend on the number of threads, and results must not.
KNOT_DECIMALS, ROW_DECIMALS, PAIR_DECIMALS = 9, 12, 16
# Against less than this relative noise the coarse curve is free.
CURVE_NOISE = 1e-4


@dataclass(frozen=True, slots=True)
class _Prior:
    """Expected value and precision of each coefficient, [P] each."""

    value: Floats
    precision: Floats

    def joined(self, other: "_Prior") -> "_Prior":
        """These coefficients followed by the other's."""
        return _Prior(
            np.concatenate([self.value, other.value]), np.concatenate([self.precision, other.precision])
        )


@dataclass(frozen=True, slots=True)
class _Terms:
    """All but the token curve; coefficients are [I * J increments of the surface, row_s, pair_s].

    surface [R, I * J], logit_rows [R], pairs [R].
    """

    surface: Floats
    logit_rows: Floats
    pairs: Floats

    def columns(self, is_by_pairs: NDArray[np.bool_]) -> Floats:
        """[R, I * J + 2]: attention of each row priced by its pairs or by the surface."""
        surface = np.where(is_by_pairs[:, None], 0.0, self.surface)
        by_pairs = np.where(is_by_pairs, self.pairs, 0.0)
        return np.hstack([surface, self.logit_rows[:, None], by_pairs[:, None]])

    def seconds(self, coefficients: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Seconds of each row [R], and whether its pairs set the time of its attention."""
        read_s, work_s = self.surface @ coefficients[:-2], self.pairs * coefficients[-1]
        return self.logit_rows * coefficients[-2] + np.maximum(read_s, work_s), work_s > read_s


def fit_pass_surface(rows: RoleRows) -> PassSurface:
    """The surface of one role's rows (N >= 1)."""
    tokens, group = np.unique(rows.num_new_tokens, return_inverse=True)
    context = rows.num_kv_tokens / rows.num_sequences
    b_knots = _thinned(np.unique(rows.num_sequences), MAX_SEQUENCE_KNOTS)
    c_knots = _thinned(np.unique(context), MAX_CONTEXT_KNOTS)
    coarse = _ramps(rows.num_new_tokens, _thinned(tokens, MAX_COARSE_TOKEN_KNOTS))
    surface = _hats(rows.num_sequences, b_knots)[:, :, None] * _ramps(context, c_knots)[:, None, :]
    terms = _Terms(
        surface.reshape(len(context), -1),
        logit_rows(rows.num_sequences, rows.num_new_tokens),
        pairs(rows.num_sequences, rows.num_new_tokens, context),
    )
    prior = _terms_prior(rows, terms, coarse, b_knots, c_knots)
    coefficients, curve_s = _backfit(rows, group, coarse, terms, prior)
    curve_s = curve_s.round(KNOT_DECIMALS)
    fitted = PassSurface(
        tokens,
        curve_s,
        _tail_slope_s(tokens, curve_s),
        round(float(coefficients[-2]), ROW_DECIMALS),
        ContextCosts(
            np.concatenate([[0.0], b_knots, 2.0 * b_knots[-1:]]),
            c_knots if len(c_knots) > 1 else c_knots[0] + np.array([0.0, 1.0]),
            _attention_grid(coefficients[:-2], len(b_knots), len(c_knots)),
            AttentionCosts(pair_s=round(float(coefficients[-1]), PAIR_DECIMALS)),
        ),
        ValidRange(_ends(b_knots), _ends(tokens), _ends(c_knots)),
        FitResiduals(0, np.nan, np.nan),
    )
    error = np.abs(fitted.predict_s(rows.num_sequences, rows.num_new_tokens, context) / rows.seconds - 1.0)
    median, p95 = np.percentile(error, [50, 95])
    return replace(fitted, residuals=FitResiduals(len(error), float(median), float(p95)))


def _backfit(
    rows: RoleRows, group: Groups, coarse: Floats, terms: _Terms, prior: _Prior
) -> tuple[Floats, Floats]:
    """The terms' coefficients [I * J + 2] and the token curve [N]."""
    seconds, weight = rows.seconds, 1.0 / rows.seconds
    num_coarse = coarse.shape[1]
    is_by_pairs = rows.num_new_tokens > MANY_QUERIES * rows.num_sequences
    columns = np.hstack([coarse, terms.columns(is_by_pairs)])
    joint = _ridge_fit(columns, seconds, weight, _free(num_coarse, seconds).joined(prior))
    coefficients = joint[num_coarse:]
    for _ in range(NUM_ROUNDS):
        other_s, is_by_pairs = terms.seconds(coefficients)
        curve_s = _token_curve(seconds - other_s, weight, group)
        weight = _huber_weights((curve_s[group] + other_s) / seconds - 1.0) / seconds
        coefficients = _ridge_fit(terms.columns(is_by_pairs), seconds - curve_s[group], weight, prior)
    other_s, _ = terms.seconds(coefficients)
    return coefficients, _token_curve(seconds - other_s, weight, group)


def _terms_prior(rows: RoleRows, terms: _Terms, coarse: Floats, b_knots: Floats, c_knots: Floats) -> _Prior:
    """Prior of the coefficients of ``terms``.

    An increment of the surface is expected to be one read cost per KV token (of a fit of coarse
    curve + cost * KV tokens), give or take as much again; one row of the table weighs as much as the
    prior. Row and pair cost: zero, give or take what makes up a whole pass.
    """
    seconds, typical_s = rows.seconds, float(np.median(rows.seconds))
    kv_scale = max(float(rows.num_kv_tokens.max()), 1.0)
    columns = np.hstack([coarse, rows.num_kv_tokens[:, None] / kv_scale])
    read_s = _ridge_fit(columns, seconds, 1.0 / seconds, _free(columns.shape[1], seconds))[-1] / kv_scale
    value = np.zeros((len(b_knots), len(c_knots)))
    value[:, 1:] = read_s * b_knots[:, None] * np.diff(c_knots)
    precision = (ROW_NOISE / (value + 1e-2 * typical_s)) ** 2
    precision[0, 0] = (1e6 / typical_s) ** 2  # counted in the token curve
    most_per_s = [(counts / seconds).max() for counts in (terms.logit_rows, terms.pairs)]
    costs = (ROW_NOISE * np.array(most_per_s)) ** 2
    return _Prior(np.append(value, [0.0, 0.0]), np.append(precision, costs))


def _free(num: int, seconds: Floats) -> _Prior:
    """A prior weak enough to matter only where no row does."""
    return _Prior(np.zeros(num), np.full(num, (CURVE_NOISE / float(np.median(seconds))) ** 2))


def _ridge_fit(columns: Floats, values: Floats, weight: Floats, prior: _Prior) -> Floats:
    """Non-negative x that minimizes |weight (columns x - values)|^2 + precision (x - prior)^2."""
    weighted = columns * weight[:, None]
    gram = weighted.T @ weighted
    gram[np.diag_indices_from(gram)] += prior.precision
    moment = weighted.T @ (weight * values) + prior.precision * prior.value
    # unit columns: seconds per pair are 1e9 times smaller than seconds per surface cell
    unit = 1.0 / np.sqrt(np.diag(gram))
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
    grid = np.cumsum(increments.reshape(num_sequences, num_contexts), axis=1).round(KNOT_DECIMALS)
    if num_contexts == 1:
        grid = np.repeat(grid, 2, axis=1)
    return np.vstack([np.zeros_like(grid[:1]), grid, 2.0 * grid[-1:]])


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
