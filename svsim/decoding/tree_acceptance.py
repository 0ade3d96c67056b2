"""What is accepted of a tree, from columns of the text's path: the depth down to which the tree holds it.

A tree that the prefix decides is verified sibling by sibling; with the draft's law a certainty at each, that
is: draw y from the target's law, and accept it if it is a sibling. So the trace's own text serves, sampled or
not, and nothing is tossed here. Nodes are verified all, and as many tokens accepted as the path has hits.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.acceptances import Accepted, At
from svsim.decoding.trees import (
    Donors,
    PathColumns,
    Ranks,
    StaticTree,
    best_positional,
    best_visited,
    donors_of,
    grow,
    hits_of,
    ranks_ahead,
)
from svsim.errors import InputError
from svsim.trace.token_trace import Signal, TargetColumns, TokenTrace, TraceMetadata

PATH_COLUMNS = "path_rank", "path_logprob", "top_logprob"
TREE_RANK = "tree_rank"
Rows = NDArray[np.int64] | slice


@dataclass(frozen=True, slots=True)
class TreeAcceptance:
    """What every tree says of itself; ``fitted`` where ``needs_profile``."""

    @property
    def needs_profile(self) -> bool:
        """Whether it is learnt on profile requests."""
        raise NotImplementedError

    @property
    def is_exact(self) -> bool:
        """Whether its hits are those of the server's tree, row by row."""
        raise NotImplementedError

    def first_accept(self, target: TargetColumns, accept: Signal) -> Signal:
        """No belief stands beside a tree: ``accept`` as it is."""
        return accept


@dataclass(frozen=True, slots=True)
class OfStaticTree(TreeAcceptance):
    """A tree of the same rank paths at every row.

    tree: given, or fitted: of ``num_nodes``, at most ``depth`` deep, after the paths that profile requests
    take (``visited``) or a chance per rank (``positional``: Sequoia's, over sampled siblings where the trace
    holds their index).
    """

    num_nodes: int
    depth: int
    law: Literal["given", "visited", "positional"] = "visited"
    tree: StaticTree | None = None

    @property
    def needs_profile(self) -> bool:
        """Unless it is given."""
        return self.law != "given"

    @property
    def is_exact(self) -> bool:
        """Ranks say all."""
        return True

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """Ranks along the path."""
        return (self._column(present),)

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Hits of the tree."""
        if self.tree is None:
            raise InputError(f"{at.method}: its tree follows from profile requests; fit it on some first")
        column = target.require_outcome(self._column(target.outcomes), at.method)
        _check_depth(column, self.tree.depth, at.method)
        return self.tree.accepted(ranks_ahead(column, self.tree.depth))

    def fitted(self, profile: TokenTrace, rows: Rows, label: str) -> "OfStaticTree":
        """The best tree of profile requests (or rows of them)."""
        column = profile.target.require_outcome(self._column(profile.target.outcomes), label)
        ranks = _within_requests(ranks_ahead(column, self.depth), profile)[rows]
        if self.law == "positional":
            first = ranks[:, 0]
            chances = np.bincount(first, minlength=2)[1 : self.num_nodes + 1] / max(len(first), 1)
            depth = self.depth if column.shape[1] == 1 else min(self.depth, column.shape[1])
            falling = np.minimum.accumulate(chances).tolist()
            return replace(self, tree=best_positional(falling, self.num_nodes, depth))
        return replace(self, tree=best_visited(ranks, self.num_nodes, self.depth))

    def _column(self, present: Collection[str]) -> str:
        sampled = self.law == "positional" and "child_index" in present
        return "child_index" if sampled else "path_rank"


@dataclass(frozen=True, slots=True)
class OfGrownTree(TreeAcceptance):
    """A tree grown anew at every row; ``widths``: nodes with children at every level, as many children each.

    num_nodes: of the candidates, the best so many are verified; None: the levels' nodes are the tree. Exact
    from ``tree_rank`` where the trace holds the ranking of this tree (``is_recorded``), else grown with
    donors of profile requests in the place of nodes off the path: approximate.
    """

    widths: tuple[int, ...]
    num_nodes: int | None
    is_recorded: bool = False
    donors: Donors | None = field(default=None, compare=False, repr=False)
    distinct_share: float = 1.0

    @property
    def needs_profile(self) -> bool:
        """Donors are profile requests'."""
        return not self.is_recorded

    @property
    def is_exact(self) -> bool:
        """Where the drafter's own ranking is recorded."""
        return self.is_recorded

    def on_trace(self, metadata: TraceMetadata, present: Collection[str]) -> "OfGrownTree":
        """With whether the trace holds the ranking of this tree."""
        told, beam = metadata.trees or {}, self.widths[0]
        same = set(self.widths) == {beam} and told.get("beam") == beam
        same = same and told.get("levels") == len(self.widths)
        return replace(self, is_recorded=same and self.num_nodes is not None and TREE_RANK in present)

    def needs(self, present: Collection[str]) -> tuple[str, ...]:
        """The ranking, or what trees grow from."""
        return (TREE_RANK,) if self.is_recorded else PATH_COLUMNS

    def resolve(self, target: TargetColumns, accepted: Accepted, num_drafted: int, at: At) -> Accepted:
        """Hits of the tree."""
        if self.is_recorded and self.num_nodes is not None:
            return hits_of(target.require_outcome(TREE_RANK, at.method), self.num_nodes)
        if self.donors is None:
            raise InputError(f"{at.method}: trees grow with donors of profile requests; fit it on some first")
        grown = grow(path_columns(target, at.method), self.donors, self.widths, at.first_row)
        return grown.kept if self.num_nodes is None else grown.accepted(self.num_nodes)

    def fitted(self, profile: TokenTrace, rows: Rows, label: str) -> "OfGrownTree":
        """With donors of whole profile requests, whatever the rows."""
        paths = path_columns(profile.target, label)
        donors = donors_of(paths, profile.first_position)
        return replace(self, donors=donors, distinct_share=paths.distinct_share)


def path_columns(target: TargetColumns, label: str) -> PathColumns:
    """The columns that trees grow from. InputError where ``top_logprob`` does not fall."""
    rank, logprob, top = (target.require_outcome(name, label) for name in PATH_COLUMNS)
    children = top.reshape(len(top), rank.shape[1], -1)
    if (np.diff(children, axis=2) > 0).any():
        raise InputError(f"{label}: top_logprob must hold the largest first; record the column again")
    return PathColumns(rank.astype(np.int32), logprob, children)


def _check_depth(column: Signal, depth: int, label: str) -> None:
    if 1 < column.shape[1] < depth:
        raise InputError(
            f"{label}: its tree has {depth} levels, and the trace holds ranks at {column.shape[1]} depths; "
            "ask for a lower tree, or record more"
        )


def _within_requests(ranks: Ranks, trace: TokenTrace) -> Ranks:
    """The ranks, 0 beyond the end of each request."""
    end = np.repeat(trace.first_position[1:], trace.num_output_tokens)
    left = end - np.arange(trace.num_positions)
    return np.where(np.arange(ranks.shape[1]) < left[:, None], ranks, 0)
