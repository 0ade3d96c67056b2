"""Growing the tree of a drafter at every row, as EAGLE-2's code does, from recorded columns; compiled.

Words
-----
score     sum of the draft's log-probabilities along a node's path, exact: of float16 values, in float64.
front     nodes of the last level whose children are looked at, best first.
path      the nodes that spell the text: y_t, y_(t+1), ... Every other node is off the path.
donor     a recorded row whose children stand in for those of an off-path node.
before    order of nodes: score; then the shallower, the earlier parent, the lower rank.
"""

from typing import NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from svsim.compiled import compiled

NUM_HALFS = 1 << 16  # bit patterns of a float16
MAX_BEAM = 256


class Forest(NamedTuple):
    """What trees grow from.

    ranks: int32 [T, D], of y at depth d among the children of the path so far; 0 where it is not known.
    lists: uint16 [T D + donors, W], log-probabilities of the likeliest children as bits of float16: the
        rows' own, then donors in the order of their own log-probability, level by level.
    value_of: float32 [NUM_HALFS]. places: int32 [J, NUM_HALFS], the place among the donors of a level (J = 1:
        of all levels) of a node with that log-probability. first, size, slack: int64 [J], where these
        donors begin, how many there are, and how far from the place one may lie.
    """

    ranks: NDArray[np.int32]
    lists: NDArray[np.uint16]
    value_of: NDArray[np.float32]
    places: NDArray[np.int32]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    slack: NDArray[np.int64]


class Front(NamedTuple):
    """Scratch, [MAX_BEAM] each: score and children's list of the front's nodes, those of the next one, and
    each node's best child that is not taken yet; path: float64, scores of the path's nodes; ahead: int64,
    nodes before each of these and not before the one above it."""

    score: NDArray[np.float64]
    source: NDArray[np.int64]
    next_score: NDArray[np.float64]
    next_source: NDArray[np.int64]
    head: NDArray[np.int64]
    head_score: NDArray[np.float64]
    path: NDArray[np.float64]
    ahead: NDArray[np.int64]


def new_front() -> Front:
    """Scratch of any content."""
    scores, places = np.zeros((4, MAX_BEAM)), np.zeros((4, MAX_BEAM), np.int64)
    return Front(scores[0], places[0], scores[1], places[1], places[2], scores[2], scores[3], places[3])


def empty_forest() -> Forest:
    """A forest of nothing: its field types are those of every forest."""
    none = np.zeros(0, np.int64)
    lists, places = np.zeros((0, 1), np.uint16), np.zeros((0, 1), np.int32)
    return Forest(np.zeros((0, 1), np.int32), lists, np.zeros(0, np.float32), places, none, none, none)


@compiled(is_hot=True)
def _own_list(forest, row, level):  # type: ignore[no-untyped-def]
    """Which list holds the children of the path's node at ``level`` (0: the root); -1: not recorded."""
    depths = forest.ranks.shape[1]
    if depths == 1:
        return row + level if row + level < forest.ranks.shape[0] else -1
    return row * depths + level if level < depths else -1


@compiled(is_hot=True)
def _rank_at(forest, row, level):  # type: ignore[no-untyped-def]
    """Rank of the path's node at depth level + 1 among its siblings; 0 where it is not known."""
    depths = forest.ranks.shape[1]
    if depths == 1:
        return forest.ranks[row + level, 0] if row + level < forest.ranks.shape[0] else 0
    return forest.ranks[row, level] if level < depths else 0


@compiled(is_hot=True)
def _follow_path(forest, widths, row, path):  # type: ignore[no-untyped-def]
    """Scores of the path's nodes, as deep as each may be among its parent's candidates; returns how deep."""
    reach, score = 0, 0.0
    while reach < widths.size:
        rank = _rank_at(forest, row, reach)
        if rank < 1 or rank > widths[reach]:
            break
        score += forest.value_of[forest.lists[_own_list(forest, row, reach), rank - 1]]
        path[reach] = score
        reach += 1
    return reach


@compiled(is_hot=True)
def _is_before(score, level, is_first, path, depth):  # type: ignore[no-untyped-def]
    """Whether a node comes before the path's node of index ``depth``; is_first: where all else is equal."""
    if score != path[depth]:
        return score > path[depth]
    return level < depth or (level == depth and is_first)


@compiled(is_hot=True)
def _count_level(forest, front, size, level, width, limit, parent, rank):  # type: ignore[no-untyped-def]
    """Count the candidates of a level before the path's nodes above index ``limit``.

    (parent, rank): the path's node among them; parent -1: none.
    """
    floor = front.path[limit - 1]
    for p in range(size):
        for w in range(width):
            score = front.score[p] + forest.value_of[forest.lists[front.source[p], w]]
            if score < floor:
                break
            is_first, depth = p < parent or (p == parent and w < rank), limit
            while depth > 0 and _is_before(score, level, is_first, front.path, depth - 1):
                depth -= 1
            if depth < limit:
                front.ahead[depth] += 1


@compiled(is_hot=True)
def _offset(row, level, place, slack):  # type: ignore[no-untyped-def]
    """Uniform in -slack .. slack, of a row's node: splitmix64 of who it is."""
    x = (np.uint64(row) * np.uint64(64) + np.uint64(level)) * np.uint64(MAX_BEAM) + np.uint64(place)
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ (x >> np.uint64(31))) >> np.uint64(32)
    return np.int64((x * np.uint64(2 * slack + 1)) >> np.uint64(32)) - slack


@compiled(is_hot=True)
def _donor_list(forest, row, level, place, half):  # type: ignore[no-untyped-def]
    """Which list stands in for the children of an off-path node of that log-probability."""
    j = min(level, forest.first.size - 1)
    near = forest.places[j, half] + _offset(row, level, place, forest.slack[j])
    return forest.first[j] + min(max(near, 0), forest.size[j] - 1)


@compiled(is_hot=True)
def _best_head(front, size, floor):  # type: ignore[no-untyped-def]
    """The front's node with the best child that is not taken, -1 where none reaches ``floor``."""
    best, found = floor, -1
    for p in range(size):
        if found >= 0 and front.score[p] <= best:  # no child is better than its parent
            break
        if front.head_score[p] > best or (found < 0 and front.head_score[p] == best):
            best, found = front.head_score[p], p
    return found


@compiled(is_hot=True)
def _next_front(forest, front, size, level, width, parent, rank, row, first_row, floor):  # type: ignore[no-untyped-def]
    """Make the best ``width`` candidates the front; returns its size and the path's place in it, or -1.

    Candidates below ``floor`` are left out: nothing that is counted comes of them.
    """
    for p in range(size):
        front.head[p] = 0
        front.head_score[p] = front.score[p] + forest.value_of[forest.lists[front.source[p], 0]]
    count, on_path = 0, -1
    while count < width:
        p = _best_head(front, size, floor)
        if p < 0:
            break
        w = front.head[p]
        own = -1
        if p == parent and w == rank:
            on_path, own = count, _own_list(forest, row, level + 1)
        half = forest.lists[front.source[p], w]
        front.next_score[count] = front.head_score[p]
        front.next_source[count] = own if own >= 0 else _donor_list(
            forest, first_row + row, level, count, half
        )  # fmt: skip
        count += 1
        front.head[p] = w + 1
        front.head_score[p] = -np.inf
        if w + 1 < width:
            front.head_score[p] = front.score[p] + forest.value_of[forest.lists[front.source[p], w + 1]]
    for p in range(count):
        front.score[p], front.source[p] = front.next_score[p], front.next_source[p]
    return count, on_path


@compiled()
def _grow_row(forest, front, widths, row, first_row):  # type: ignore[no-untyped-def]
    """One tree: (depths of the path that it grew, depths that were in the front); counts in ``ahead``."""
    reach = _follow_path(forest, widths, row, front.path)
    front.ahead[: reach + 1] = 0
    front.score[0], front.source[0] = 0.0, _own_list(forest, row, 0)
    size, parent, grown, kept, level = 1, 0, 0, 0, 0
    while level < widths.size and size > 0 and reach > 0:
        rank = -1
        if parent >= 0 and level < reach:
            rank = _rank_at(forest, row, level) - 1
            grown = level + 1
        limit = reach if rank >= 0 else grown
        _count_level(forest, front, size, level, widths[level], limit, parent if rank >= 0 else -1, rank)
        size, parent = _next_front(
            forest, front, size, level, widths[level], parent, rank, row, first_row, front.path[limit - 1]
        )  # fmt: skip
        kept += parent >= 0
        level += 1
    return grown, kept


FOREST, FRONT = map(typeof, (empty_forest(), new_front()))


@compiled((FOREST, FRONT, types.int64[::1], types.int64, types.uint16[:, ::1], types.uint8[::1]))
def grow_rows(forest, front, widths, first_row, tree_rank, kept):  # type: ignore[no-untyped-def]
    """Grow the tree of every row.

    widths: nodes of the front at every level; of each node as many children are candidates. first_row: where
    the rows begin in the replayed part. tree_rank: uint16 [T, L] out, place of the path's nodes among all
    candidates, 65535 where they are none; kept: uint8 [T] out, depths of the path that stayed in the front.
    """
    for row in range(tree_rank.shape[0]):
        grown, kept[row] = _grow_row(forest, front, widths, row, first_row)
        place = 1
        for depth in range(widths.size):
            place += front.ahead[depth] if depth < grown else 0
            tree_rank[row, depth] = min(place, 65534) if depth < grown else 65535
