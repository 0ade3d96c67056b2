"""The schedule of most queries per second within limits: every point of a box, or branch and bound.

Branch and bound keeps boxes in a queue by the most that any of their points can give: B_E's upper end over
a lower bound of the phase. A box whose bound is worse than the best point, or whose least latency or KV
breaks a limit, is dropped; another is tried at its corners and split in two. The bounds hold wherever passes
do not get shorter with more tokens, so the answer is that of trying all points. (The paper's own search takes
the values at two corners for bounds; p99 latency in whole phases, ceil(s/N_D), is not monotone in N_D.)
"""

import heapq
from dataclasses import dataclass

import numpy as np

from svsim.errors import InfeasibleError
from svsim.phase_schedules.schedules import Box, Limits, PhaseModel, ScheduledPhase

Key = tuple[float, float, int, int]  # worst first: -queries/s, latency, B_E, N_D


@dataclass(frozen=True, slots=True)
class Found:
    """The best schedule, and how many of the box's were priced."""

    best: ScheduledPhase
    num_priced: int
    num_points: int


def exhaustive(model: PhaseModel, box: Box, limits: Limits) -> Found:
    """The best of all points. InfeasibleError, naming the closest, if none keeps the limits."""
    sizes = np.arange(box.be[0], box.be[1] + 1, dtype=np.float64)
    best: Key | None = None
    for nd in range(box.nd[0], box.nd[1] + 1):
        points = model.points(sizes, nd)
        fine = np.flatnonzero(limits.allows(points.latency_s, points.num_kv_tokens))
        for i in fine:
            key = (-float(sizes[i] / points.phase_s[i]), float(points.latency_s[i]), int(sizes[i]), nd)
            best = key if best is None or key < best else best
    num_points = len(sizes) * (box.nd[1] - box.nd[0] + 1)
    return Found(_answer(model, box, best, limits), num_points, num_points)


def branch_and_bound(model: PhaseModel, box: Box, limits: Limits) -> Found:
    """The same point, pricing few of them."""
    best: Key | None = None
    priced: set[tuple[int, int]] = set()
    heap: list[tuple[float, Box]] = []
    _push(heap, model, box, limits, best)
    while heap:
        bound, one = heapq.heappop(heap)
        if best is not None and bound > best[0]:
            break
        for be, nd in {(b, n) for b in one.be for n in one.nd} - priced:
            priced.add((be, nd))
            key = _key(model, be, nd, limits)
            best = key if key is not None and (best is None or key < best) else best
        for half in _halves(one):
            _push(heap, model, half, limits, best)
    num_points = (box.be[1] - box.be[0] + 1) * (box.nd[1] - box.nd[0] + 1)
    return Found(_answer(model, box, best, limits), len(priced), num_points)


def _key(model: PhaseModel, be: int, nd: int, limits: Limits) -> Key | None:
    points = model.points(np.array([float(be)]), nd)
    if not limits.allows(points.latency_s, points.num_kv_tokens)[0]:
        return None
    return -float(be / points.phase_s[0]), float(points.latency_s[0]), be, nd


def _push(
    heap: "list[tuple[float, Box]]", model: PhaseModel, box: Box, limits: Limits, best: Key | None
) -> None:
    """Keep a box that may hold something better than the best."""
    least_s, latency_s = model.least_phase_s(box.be[0], *box.nd)
    most = -box.be[1] / least_s
    kv = box.be[0] * min(float(model.kv_per_query(nd).max()) for nd in range(box.nd[0], box.nd[1] + 1))
    slack = 1 - 1e-12  # of rounding
    is_possible = limits.allows(np.asarray(latency_s * slack), np.asarray(kv * slack)).all()
    if is_possible and (best is None or most / slack <= best[0]):
        heapq.heappush(heap, (most / slack, box))


def _halves(box: Box) -> list[Box]:
    """The box cut across its longer side, relative to where it lies; nothing where all points are corners."""
    (b0, b1), (n0, n1) = box.be, box.nd
    if b1 - b0 <= 1 and n1 - n0 <= 1:
        return []
    if b1 - b0 > 1 and (b1 / b0 >= n1 / n0 or n1 - n0 <= 1):
        middle = (b0 + b1) // 2
        return [Box((b0, middle), box.nd), Box((middle + 1, b1), box.nd)]
    middle = (n0 + n1) // 2
    return [Box(box.be, (n0, middle)), Box(box.be, (middle + 1, n1))]


def _answer(model: PhaseModel, box: Box, best: Key | None, limits: Limits) -> ScheduledPhase:
    if best is not None:
        return model.at(best[2], best[3])
    closest = min(
        (model.at(box.be[0], nd) for nd in range(box.nd[0], box.nd[1] + 1)), key=lambda one: one.latency_s
    )
    asked = [
        f"a latency of {limits.latency_s:g} s" if limits.latency_s is not None else "",
        f"{limits.num_kv_tokens:,.0f} KV tokens" if limits.num_kv_tokens is not None else "",
    ]
    raise InfeasibleError(
        f"no {model.kind} schedule keeps {' and '.join(filter(None, asked))}; the closest is "
        f"{closest.label}, {closest.latency_s:.3g} s and {closest.num_kv_tokens:,.0f} KV tokens"
    )
