"""Trees of draft tokens node by node, in plain Python: what ``decoding/trees.py`` is held against."""

from dataclasses import dataclass

import numpy as np

from svsim.decoding.tree_growth import MAX_BEAM


@dataclass(frozen=True)
class Node:
    score: float
    depth: int
    parent_place: int  # in the front that it was grown from
    rank: int
    tokens: tuple  # or ranks: whatever names a node
    place: int = -1  # in its own level's front


def literal_growth(children_of, widths):
    """(candidates in final order, fronts): EAGLE-2's; ``children_of(node)`` -> [(name, log q)] by rank."""
    front, candidates, fronts = [Node(0.0, 0, 0, 0, ())], [], []
    for width in widths:
        level = [
            Node(node.score + log, node.depth + 1, p, rank, (*node.tokens, name))
            for p, node in enumerate(front)
            for rank, (name, log) in enumerate(children_of(node)[:width], start=1)
        ]
        candidates += level
        best = sorted(level, key=lambda n: (-n.score, n.parent_place, n.rank))[:width]
        front = [Node(n.score, n.depth, n.parent_place, n.rank, n.tokens, i) for i, n in enumerate(best)]
        fronts.append({n.tokens for n in front})
    return sorted(candidates, key=lambda n: (-n.score, n.depth, n.parent_place, n.rank)), fronts


def run_of(path, nodes):
    """Leading depths of a path that are among the nodes."""
    found = 0
    while found < len(path) and tuple(path[: found + 1]) in nodes:
        found += 1
    return found


def offset(row, level, place, slack):
    """splitmix64 of who a node is, uniform in -slack .. slack."""
    mask = (1 << 64) - 1
    x = (row * 64 + level) * MAX_BEAM + place
    x = (x + 1) * 0x9E3779B97F4A7C15 & mask
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
    return ((x ^ (x >> 31)) >> 32) * (2 * slack + 1) // 2**32 - slack


def grown_from_columns(rank, top, donors, widths, row):
    """One row's (tree_rank, kept) from columns, node by node; donors: [(keys, lists)] by level."""
    depths = rank.shape[1]

    def place_of(d):  # where the path's node of depth d - 1 has its children's columns
        if depths == 1:
            return (row + d, 0) if row + d < len(rank) else None
        return (row, d) if d < depths else None

    path = []
    while place_of(len(path)) is not None and 0 < rank[place_of(len(path))] <= top.shape[2]:
        path.append(int(rank[place_of(len(path))]))

    def children_of(node):
        own = place_of(node.depth)
        if own is not None and list(node.tokens) == path[: node.depth] and len(path) >= node.depth:
            logs = top[own]
        else:
            keys, lists = donors[min(node.depth - 1, len(donors) - 1)]
            own_log = np.float16(log_of[node.tokens])
            slack = max(20, int(0.01 * len(keys)))
            near = np.searchsorted(keys, own_log) + offset(row, node.depth - 1, node.place, slack)
            logs = lists[min(max(near, 0), len(keys) - 1)]
        found = [(r, float(np.float16(log))) for r, log in enumerate(logs, start=1)]
        log_of.update({(*node.tokens, name): log for name, log in found})
        return found

    log_of = {}
    candidates, fronts = literal_growth(children_of, widths)
    order = {n.tokens: i for i, n in enumerate(candidates, start=1)}
    ranks = [order.get(tuple(path[: d + 1]), 65535) if d < len(path) else 65535 for d in range(len(widths))]
    kept = 0
    while kept < min(len(path), len(widths)) and tuple(path[: kept + 1]) in fronts[kept]:
        kept += 1
    return ranks, kept


def sequoia_recursion(chances, num_nodes, depth):
    """E[accepted] of the best tree, by splitting nodes among children (arXiv 2402.12374, proposition 3.4)."""
    if num_nodes == 0 or depth == 0:
        return 0.0

    def split(first, nodes):  # children first, first + 1, ... share so many nodes
        if nodes == 0 or first == len(chances):
            return 0.0
        return max(
            split(first + 1, nodes - mine)
            + (chances[first] * (1.0 + sequoia_recursion(chances, mine - 1, depth - 1)) if mine else 0.0)
            for mine in range(nodes + 1)
        )

    return split(0, num_nodes)


def all_trees(num_nodes, ranks, depth):
    """Every prefix-closed set of so many rank paths."""
    trees = {frozenset()}
    for _ in range(num_nodes):
        trees = {
            tree | {(*path, rank)}
            for tree in trees
            for path in (*tree, ())
            if len(path) < depth
            for rank in range(1, ranks + 1)
            if (*path, rank) not in tree
        }
    return trees


class TinyDrafter:
    """A target and a drafter over V tokens that look at the last tokens: laws by context, and what is said
    along a sampled (or greedy) text."""

    def __init__(self, vocabulary, context, seed, closeness=1.0, sharpness=2.0):
        rng = np.random.default_rng(seed)
        self.context, self.vocabulary, self.rng = context, vocabulary, rng
        self.weights = rng.normal(0.0, sharpness / np.sqrt(context), (2, context, vocabulary, vocabulary))
        self.weights[1] = closeness * self.weights[0] + (1.0 - closeness) * self.weights[1]

    def logs(self, which, tokens):
        recent = tokens[-self.context :]
        logits = sum(self.weights[which, i, token] for i, token in enumerate(reversed(recent)))
        return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()

    def text(self, length, greedy):
        tokens = list(self.rng.integers(0, self.vocabulary, self.context))
        for _ in range(length):
            logs = self.logs(0, tokens)
            law = np.exp(logs) / np.exp(logs).sum()
            tokens.append(int(logs.argmax() if greedy else self.rng.choice(self.vocabulary, p=law)))
        return tokens

    def columns(self, tokens, width):
        """rank [T, 1], logprob [T, 1], top [T, 1, W] behind the first ``context`` tokens."""
        rank, logprob, top = [], [], []
        for t in range(self.context, len(tokens)):
            logs = self.logs(1, tokens[:t]).astype(np.float16)
            order = np.argsort(-logs, kind="stable")
            rank.append(1 + int(np.flatnonzero(order == tokens[t])[0]))
            logprob.append(logs[tokens[t]])
            top.append(logs[order[:width]])
        return (
            np.array(rank, np.int32)[:, None],
            np.array(logprob, np.float32)[:, None],
            np.array(top, np.float32)[:, None],
        )

    def children_of(self, tokens):
        """For ``literal_growth`` at the end of these tokens."""

        def children(node):
            logs = self.logs(1, [*tokens, *node.tokens]).astype(np.float16)
            order = np.argsort(-logs, kind="stable")
            return [(int(token), float(logs[token])) for token in order]

        return children
