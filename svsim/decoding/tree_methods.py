"""Methods that verify a tree of draft tokens in one pass: the text's own path through it is accepted.

Defaults are the source's; one that the source does not state is said to be ours.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.drafters import MODEL, Drafter, HeadDrafter, ShapedHeadDrafter
from svsim.decoding.method import DecodingMethod
from svsim.decoding.preset import SHAPED, Option, Preset, Value, shown
from svsim.decoding.tree_acceptance import OfGrownTree, OfStaticTree
from svsim.decoding.tree_drafters import HeadsDrafter, TreeDrafter
from svsim.decoding.trees import MAX_NODES, StaticTree
from svsim.errors import MethodError, SvsimError
from svsim.latency.head_shape import HeadKind
from svsim.reading import read_bytes
from svsim.trace.token_trace import TokenTrace, TraceMetadata

Options = Mapping[str, Value]
AUTO, DEFAULT = "auto", "default"
DECIDED = "the text before a step decides the tree, and a sibling that is the target's own draw is accepted"
FEWEST_DISTINCT = 0.5
# 12 nodes in rank paths: our reading of the parent lists of STree's repository
STREE_PATHS = (
    (1,), (2,), (3,), (1, 1), (1, 2), (2, 1), (1, 1, 1), (1, 1, 2), (1, 2, 1),
    (1, 1, 1, 1), (1, 1, 1, 2), (1, 1, 1, 3),
)  # fmt: skip

NODES = Option(63, at_least=1, at_most=MAX_NODES)
LEVELS = Option(10, at_least=1, at_most=63)
SHARE = Option(SHAPED, at_least=0.0, at_most=1.0)
TREE: Mapping[str, Option] = {
    "shape": Option(AUTO, pattern=r".{1,4096}", form="a file of rank paths, or auto"),
    "m": NODES,  # ours
    "depth": LEVELS,  # ours
}
MEDUSA: Mapping[str, Option] = {
    "m": NODES,
    "heads": Option(4, at_least=1, at_most=63),
    "head_share": SHARE,
}
SEQUOIA: Mapping[str, Option] = {"m": replace(NODES, default=64), "depth": LEVELS}
EAGLE_2: Mapping[str, Option] = {
    "m": replace(NODES, default=59),
    "depth": Option(7, at_least=0, at_most=62),
    "beam": Option(10, at_least=1, at_most=256),
    "head_share": SHARE,
}
STREE: Mapping[str, Option] = {
    "shape": Option(DEFAULT, (DEFAULT,)),
    "scan_share": Option(1.0, at_least=0.0, at_most=1.0),  # ours
}
LONGSPEC: Mapping[str, Option] = {
    "shape": Option(
        "4/16/16/16/16", pattern=r"[0-9]{1,3}(/[0-9]{1,3}){0,62}", form="nodes of every level, as 4/16/16"
    ),
    "head_share": SHARE,
}


# -- static trees --------------------------------------------------------------------------------------------


def tree(o: Options) -> DecodingMethod:
    """A static tree of a draft model: of a file, or the paths that profile requests take most often."""
    num_nodes, depth = int(o["m"]), int(o["depth"])
    if o["shape"] == AUTO:
        return _static("tree", OfStaticTree(num_nodes, depth), shown(TREE, o) | {"m": num_nodes})
    where = str(o["shape"])
    try:
        text = read_bytes(Path(where), "a list of rank paths").decode()
    except (SvsimError, UnicodeDecodeError) as error:
        raise MethodError(f"tree: shape={where}: {error}") from None
    given = StaticTree.parsed(text, f"tree: shape={where}")
    if num_nodes not in (TREE["m"].default, len(given.paths)):
        raise MethodError(f"tree: m={num_nodes}, but {where} has {len(given.paths)} nodes; leave m out")
    acceptance = OfStaticTree(len(given.paths), given.depth, "given", given)
    return _static("tree", acceptance, {"shape": where})


def medusa(o: Options) -> DecodingMethod:
    """Medusa: a head per depth guesses in the pass that verifies; the tree of the most visited rank paths."""
    share, heads, num_nodes = o["head_share"], int(o["heads"]), int(o["m"])
    drafter = HeadsDrafter(heads, None if share == SHAPED else float(share))
    method = _static("medusa", OfStaticTree(num_nodes, heads), shown(MEDUSA, o) | {"m": num_nodes})
    return replace(method, drafter=drafter, is_about_drafter=True)


def sequoia(o: Options) -> DecodingMethod:
    """Sequoia: the likeliest nodes where a rank is right with the same chance at every node."""
    num_nodes = int(o["m"])
    acceptance = OfStaticTree(num_nodes, int(o["depth"]), "positional")
    return _static("sequoia", acceptance, shown(SEQUOIA, o) | {"m": num_nodes})


def stree(o: Options) -> DecodingMethod:
    """STree: a fixed tree of 12 nodes on a target with a state, which scans the emitted tokens again."""
    given = StaticTree.of(STREE_PATHS)
    method = _static("stree", OfStaticTree(len(given.paths), given.depth, "given", given), shown(STREE, o))
    drafter = TreeDrafter(MODEL, given.widths, float(o["scan_share"]))
    return replace(method, drafter=drafter)


def _static(name: str, acceptance: OfStaticTree, params: Mapping[str, Value]) -> DecodingMethod:
    widths = acceptance.tree.widths if acceptance.tree is not None else ()
    return DecodingMethod(
        name,
        acceptance.num_nodes,
        drafter=TreeDrafter(MODEL, widths),
        why_lossless=DECIDED,
        params=params,
        acceptance=acceptance,
    )


# -- grown trees ---------------------------------------------------------------------------------------------


def eagle2(o: Options) -> DecodingMethod:
    """EAGLE-2: the best m nodes of a tree that the head grows anew, beam wide and depth + 1 levels deep."""
    return _grown("eagle2", HeadKind.EAGLE, o)


def eagle3(o: Options) -> DecodingMethod:
    """EAGLE-3: the same tree of another head."""
    return _grown("eagle3", HeadKind.EAGLE3, o)


def _grown(name: str, kind: HeadKind, o: Options) -> DecodingMethod:
    num_nodes, depth, beam = (int(o[key]) for key in ("m", "depth", "beam"))
    most = beam + depth * beam**2
    if num_nodes > most:
        raise MethodError(
            f"{name}: m={num_nodes}, but a tree of beam {beam} and depth {depth} has {most} candidates"
        )
    return DecodingMethod(
        name,
        num_nodes,
        drafter=TreeDrafter(_head(kind, o["head_share"]), (beam,) * depth),
        why_lossless=DECIDED,
        params=shown(EAGLE_2, o) | {"m": num_nodes},
        is_about_drafter=True,
        acceptance=OfGrownTree((beam,) * (depth + 1), num_nodes),
    )


def longspec(o: Options) -> DecodingMethod:
    """LongSpec: the best nodes of every level are the tree; a head of one layer drafts."""
    widths = tuple(int(width) for width in str(o["shape"]).split("/"))
    if not min(widths) >= 1 or sum(widths) > MAX_NODES or max(widths) > 256:
        raise MethodError(f"longspec: shape={o['shape']}; expected 1 to {MAX_NODES} nodes in all levels")
    return DecodingMethod(
        "longspec",
        sum(widths),
        drafter=TreeDrafter(_head(HeadKind.EAGLE, o["head_share"]), widths[:-1]),
        why_lossless=DECIDED,
        params=shown(LONGSPEC, o),
        is_about_drafter=True,
        acceptance=OfGrownTree(widths, None),
    )


def _head(kind: HeadKind, share: Value) -> Drafter:
    return ShapedHeadDrafter(kind, is_beside_model=True) if share == SHAPED else HeadDrafter(float(share))


# -- on a trace ----------------------------------------------------------------------------------------------


def tree_on_trace(
    method: DecodingMethod, metadata: TraceMetadata, present: Collection[str]
) -> DecodingMethod:
    """The method, knowing whether the trace holds its own tree's ranking; itself without a grown tree."""
    if not isinstance(method.acceptance, OfGrownTree):
        return method
    return replace(method, acceptance=method.acceptance.on_trace(metadata, present))


def fit_tree(
    method: DecodingMethod, profile: TokenTrace, rows: NDArray[np.int64] | slice = slice(None)
) -> DecodingMethod:
    """The method with its tree, or donors, of profile requests, and draft passes of that tree's levels."""
    acceptance = method.acceptance
    if not isinstance(acceptance, OfStaticTree | OfGrownTree) or not acceptance.needs_profile:
        return method
    fitted = acceptance.fitted(profile, rows, method.label)
    drafter = method.drafter
    if isinstance(fitted, OfStaticTree) and isinstance(drafter, TreeDrafter) and fitted.tree is not None:
        drafter = replace(drafter, widths=fitted.tree.widths)
    return replace(method, acceptance=fitted, drafter=drafter)


def loops_note(methods: Sequence[DecodingMethod]) -> tuple[str, ...]:
    """Where trees grow on a text that is caught in loops, donors are right too often."""
    found = [
        m for m in methods
        if isinstance(m.acceptance, OfGrownTree) and m.acceptance.distinct_share < FEWEST_DISTINCT
    ]  # fmt: skip
    if not found:
        return ()
    share = min(m.acceptance.distinct_share for m in found if isinstance(m.acceptance, OfGrownTree))
    return (
        f"{', '.join(m.label for m in found)}: {share:.0%} of rows differ in top_logprob: the text runs in "
        "loops, where grown trees accept too much (a tenth and more); record tree_rank, or other prompts",
    )


TREE_METHODS: Mapping[str, Preset] = {
    "tree": Preset(
        tree, TREE, "a static tree: of a file, or the best of its size", "Sequoia, arXiv 2402.12374"
    ),
    "medusa": Preset(
        medusa, MEDUSA, "a static tree of heads that guess a depth each", "Medusa, arXiv 2401.10774"
    ),
    "sequoia": Preset(
        sequoia, SEQUOIA, "the best static tree of a chance per rank", "Sequoia, arXiv 2402.12374"
    ),
    "eagle2": Preset(
        eagle2, EAGLE_2, "a tree grown anew by confidence, its best m nodes", "EAGLE-2, arXiv 2406.16858"
    ),
    "eagle3": Preset(eagle3, EAGLE_2, "the same tree of an EAGLE-3 head", "EAGLE-3, arXiv 2503.01840"),
    "stree": Preset(stree, STREE, "a fixed tree on a target with a state", "STree, arXiv 2505.14969"),
    "longspec": Preset(
        longspec, LONGSPEC, "a tree of the best nodes of every level", "LongSpec, arXiv 2502.17421"
    ),
}
