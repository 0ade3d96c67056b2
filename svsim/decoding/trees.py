"""Trees of draft tokens, once per trace: whether the text's own tokens are in the tree at every row.

Words
-----
rank path    the ranks of a node and of those above it among their siblings, from the root: (1, 1, 2).
hit          the tree holds the node that spells y_t .. y_(t+d-1); accepted(t): hits from depth 1 on.
stateless    a drafter that sees text alone (D = 1): depth d at row t is depth 1 at row t + d - 1.
static tree  the same rank paths at every row; a grown tree is another one at every row (``tree_growth``).

A verification never leaves the text, so nodes off it matter for nothing but what is in the tree.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from svsim.decoding.tree_growth import MAX_BEAM, NUM_HALFS, Forest, grow_rows, new_front
from svsim.errors import InputError, MethodError, printable

Path = tuple[int, ...]
Ranks = NDArray[np.int32]
Logs = NDArray[np.float32]
NEVER = 65535  # tree_rank of a node that was never grown
FEWEST_NEAR, SHARE_NEAR = 20, 0.01  # donors lie within that many places, or that share of them
MAX_NODES = 255  # accepted lengths and K are bytes


# -- static trees --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StaticTree:
    """Rank paths in order of depth, then of ranks; with every path its parent. MethodError otherwise."""

    paths: tuple[Path, ...]

    def __post_init__(self) -> None:
        known: set[Path] = {()}
        for path in self.paths:
            if path[:-1] not in known or path in known or min(path, default=0) < 1:
                raise MethodError(
                    f"tree: node {printable('/'.join(map(str, path)), 40)} is there twice, has no parent or "
                    "no rank from 1 on; list every parent before its children, each node once"
                )
            known.add(path)
        if not 1 <= len(self.paths) <= MAX_NODES:
            raise MethodError(f"tree: {len(self.paths)} nodes besides the root; expected 1 to {MAX_NODES}")

    @classmethod
    def of(cls, paths: Iterable[Path]) -> "StaticTree":
        """Of paths in any order."""
        return cls(tuple(sorted(paths, key=lambda path: (len(path), path))))

    @classmethod
    def parsed(cls, text: str, where: str) -> "StaticTree":
        """Of JSON: a list of rank paths, [[1], [2], [1, 1]]. MethodError for anything else."""
        try:
            read = json.loads(text)
        except ValueError as error:
            raise MethodError(f"{where} is not JSON ({error}); expected [[1], [2], [1, 1]]") from None
        if not isinstance(read, list) or not all(_is_path(path) for path in read):
            raise MethodError(f"{where} is no list of rank paths; expected [[1], [2], [1, 1]]")
        return cls.of(tuple(path) for path in read)

    @property
    def depth(self) -> int:
        """Levels below the root."""
        return len(self.paths[-1])

    @property
    def widths(self) -> tuple[int, ...]:
        """Nodes that have children, at depths 1, 2, ...: what later draft passes run over."""
        parents = {path[:-1] for path in self.paths if len(path) > 1}
        return tuple(sum(len(path) == depth for path in parents) for depth in range(1, self.depth))

    def accepted(self, ranks: Ranks) -> NDArray[np.uint8]:
        """Hits from depth 1 on, uint8 [T], of ranks [T, D], D >= depth."""
        most = max(max(path) for path in self.paths)
        number = {path: i for i, path in enumerate([(), *self.paths])}
        child = np.full((len(number) + 1, most + 2), len(number))  # the last node: off the tree
        for path, i in number.items():
            if path:
                child[number[path[:-1]], path[-1]] = i
        at = np.zeros(len(ranks), np.int64)
        hits = np.zeros(len(ranks), np.uint8)
        for depth in range(self.depth):
            at = child[at, np.minimum(ranks[:, depth], most + 1)]
            hits += at < len(number)
        return hits


def _is_path(path: object) -> bool:
    return isinstance(path, list) and len(path) > 0 and all(isinstance(r, int) for r in path)


def best_visited(ranks: Ranks, num_nodes: int, depth: int) -> StaticTree:
    """The rank paths that the text takes most often, of ranks [T, D]: the best static tree of so many nodes.

    E[accepted] is the sum of the chances of being visited, and a parent is visited at least as often as its
    children. Ties: the shallower, then lower ranks. Where fewer paths were seen, further children of the
    root fill up.
    """
    depth = min(depth, ranks.shape[1])
    rows_of: dict[Path, NDArray[np.int64]] = {(): np.arange(len(ranks))}

    def children(path: Path) -> list[tuple[Path, float]]:
        rows = rows_of.pop(path)
        here = ranks[rows, len(path)]
        order = np.argsort(here, kind="stable")
        values, starts, counts = np.unique(here[order], return_index=True, return_counts=True)
        found = []
        for rank, start, count in zip(values.tolist(), starts.tolist(), counts.tolist(), strict=True):
            if rank > 0:
                rows_of[*path, rank] = rows[order[start : start + count]]
                found.append(((*path, rank), float(count)))
        return found

    return _filled(_best_first(children, num_nodes, depth), num_nodes)


def best_positional(chances: Sequence[float], num_nodes: int, depth: int) -> StaticTree:
    """The likeliest nodes where the r-th child is right with chance ``chances[r - 1]`` wherever it is.

    A node's chance is the product along its path: the tree of Sequoia's recursion (arXiv 2402.12374).
    """
    chance_of: dict[Path, float] = {(): 1.0}

    def children(path: Path) -> list[tuple[Path, float]]:
        above = chance_of.pop(path)
        found = [((*path, r), above * c) for r, c in enumerate(chances, start=1) if c > 0]
        chance_of.update(found)
        return found

    return _filled(_best_first(children, num_nodes, depth), num_nodes)


def _best_first(
    children: Callable[[Path], list[tuple[Path, float]]], num_nodes: int, depth: int
) -> list[Path]:
    """Nodes by weight, which never grows along a path."""
    waiting: list[tuple[float, int, Path]] = []
    found: list[Path] = []
    path: Path = ()
    while len(found) < num_nodes:
        if len(path) < depth:
            for child, weight in children(path):
                heappush(waiting, (-weight, len(child), child))
        if not waiting:
            break
        path = heappop(waiting)[2]
        found.append(path)
    return found


def _filled(paths: list[Path], num_nodes: int) -> StaticTree:
    known, rank = set(paths), 1
    while len(known) < num_nodes:
        known.add((rank,))
        rank += 1
    return StaticTree.of(known)


# -- columns of the text's path ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PathColumns:
    """What a drafter says along the text. rank: int32 [T, D], 1: the likeliest, 0: unknown; logprob:
    float32 [T, D]; top: float32 [T, D, W], log-probabilities of the likeliest children, falling."""

    rank: Ranks
    logprob: Logs
    top: Logs

    @property
    def is_stateless(self) -> bool:
        """Whether depth d is depth 1 some rows on."""
        return bool(self.rank.shape[1] == 1)

    @property
    def distinct_share(self) -> float:
        """Share of rows whose children's log-probabilities differ: a text caught in loops has few."""
        return len(np.unique(_halfs(self.top[:, 0]), axis=0)) / max(len(self.top), 1)


def ranks_ahead(column: NDArray[np.float32], depth: int) -> Ranks:
    """Ranks at depths 1 .. depth, int32 [T, depth], of a column [T, D]; 0 where they are not known."""
    ranks = column.astype(np.int32)
    if ranks.shape[1] == 1:
        beyond = np.zeros(depth - 1, np.int32)
        return sliding_window_view(np.concatenate([ranks[:, 0], beyond]), depth)
    missing = max(depth - ranks.shape[1], 0)
    return np.pad(ranks, ((0, 0), (0, missing)))[:, :depth]


class Donors(NamedTuple):
    """Children of path nodes in the order of the nodes' own log-probability, for one level each; of a
    stateless drafter for all levels. lists: uint16 [N, W] as bits of float16; keys: float32 [N]."""

    lists: tuple[NDArray[np.uint16], ...]
    keys: tuple[Logs, ...]


def donors_of(paths: PathColumns, first_position: NDArray[np.int64]) -> Donors:
    """Of the rows of whole requests. InputError where there are none."""
    known = paths.rank >= 1
    if paths.is_stateless:
        later = np.setdiff1d(np.arange(len(paths.rank)), first_position[:-1])
        later = later[known[later - 1, 0]]
        pairs = [(paths.logprob[later - 1, 0], paths.top[later, 0])]
    else:
        depths = range(paths.rank.shape[1] - 1)
        pairs = [(paths.logprob[known[:, d], d], paths.top[known[:, d], d + 1]) for d in depths]
    if min(len(keys) for keys, _ in pairs) == 0:
        raise InputError(
            "no row is left whose children could stand in for those of other nodes; record longer requests"
        )
    orders = [np.argsort(keys, kind="stable") for keys, _ in pairs]
    lists = tuple(_halfs(top[order]) for (_, top), order in zip(pairs, orders, strict=True))
    return Donors(lists, tuple(keys[order] for (keys, _), order in zip(pairs, orders, strict=True)))


class Grown(NamedTuple):
    """Of grown trees, per row: place of the path's nodes among all candidates, uint16 [T, L], NEVER where
    they are none; depths of the path that stayed in the front from 1 on, uint8 [T]."""

    tree_rank: NDArray[np.uint16]
    kept: NDArray[np.uint8]

    def accepted(self, num_nodes: int) -> NDArray[np.uint8]:
        """Hits from depth 1 on in the tree of the best ``num_nodes`` candidates, uint8 [T]."""
        return hits_of(self.tree_rank, num_nodes)


def hits_of(tree_rank: NDArray[Any], num_nodes: int) -> NDArray[np.uint8]:
    """Depths from 1 on whose node is among the best so many, uint8 [T]; a child comes after its parent."""
    return np.asarray((tree_rank <= num_nodes).sum(axis=1), np.uint8)


def grow(paths: PathColumns, donors: Donors, widths: Sequence[int], first_row: int = 0) -> Grown:
    """The trees of all rows: ``widths`` nodes have children at levels 0, 1, ..., as many children each.

    EAGLE-2 (arXiv 2406.16858): the same width at all depth + 1 levels, of all candidates the best m are
    verified (``Grown.accepted``). LongSpec (arXiv 2502.17421): the nodes kept at every level are the tree
    (``Grown.kept``). first_row: of these rows in the replayed part, which choose donors. InputError where the
    columns hold fewer children than a level is wide, or fewer depths than levels.
    """
    rows, depths, num_children = paths.top.shape
    if max(widths) > min(num_children, MAX_BEAM):
        raise InputError(
            f"a tree of {max(widths)} children per node grows from at least as many recorded ones, and "
            f"top_logprob holds {num_children} (at most {MAX_BEAM}); ask for a narrower tree, or record more"
        )
    if not paths.is_stateless and depths < len(widths):
        raise InputError(
            f"a tree of {len(widths)} levels grows from as many recorded depths, and there are {depths}; "
            "ask for a lower `depth`, or record more"
        )
    tree_rank = np.empty((rows, len(widths)), np.uint16)
    kept = np.empty(rows, np.uint8)
    grow_rows(_forest(paths, donors), new_front(), np.array(widths), first_row, tree_rank, kept)
    return Grown(tree_rank, kept)


def _forest(paths: PathColumns, donors: Donors) -> Forest:
    own = _halfs(paths.top).reshape(-1, paths.top.shape[2])
    count = np.array([len(keys) for keys in donors.keys])
    all_values = np.arange(NUM_HALFS, dtype=np.uint16).view(np.float16).astype(np.float32)
    places = np.stack([np.searchsorted(keys, all_values) for keys in donors.keys])
    return Forest(
        np.ascontiguousarray(paths.rank, np.int32),
        np.concatenate([own, *donors.lists]),
        all_values,
        np.ascontiguousarray(places, np.int32),
        len(own) + np.cumsum(count) - count,
        count,
        np.maximum(FEWEST_NEAR, (SHARE_NEAR * count).astype(np.int64)),
    )


def _halfs(values: Logs) -> NDArray[np.uint16]:
    return np.ascontiguousarray(values.astype(np.float16)).view(np.uint16)
