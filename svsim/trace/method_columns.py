"""Further columns that some methods replay: names, widths, what they hold, and how to get them.

Words
-----
outcome   a column of the target's half: it knows y_t, the token that the target emits at row t.
chain     one value per draft token, [T, K]; one: a value per row, [T, 1]; exits: a value per recorded exit
          layer, [T, E]; blocks: a value per recorded block length, [T, J].
exits     metadata ``exits``: {"layers": [...], "num_layers": L}, exit layers in rising order.
blocks    metadata ``blocks``: draft lengths of a block drafter in rising order.
trees     metadata ``trees``: what trees grow from along the text (``Width``): {"depths": D, "children": W,
          "beam": b, "levels": L, "siblings": N, "rule": how siblings are tested}, as far as recorded.
path      the tokens that the target emits from a row on; its node at depth d of a tree spells d of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Width(StrEnum):
    """What a column has a value for, per row."""

    CHAIN = "chain"
    ONE = "one"
    EXITS = "exits"
    BLOCKS = "blocks"
    DEPTHS = "depths"  # of the path: D; 1 where the drafter sees nothing but text
    CHILDREN = "children"  # D times W, the likeliest first
    LEVELS = "levels"  # L, of the drafter's own tree
    SIBLINGS = "siblings"  # N


@dataclass(frozen=True, slots=True)
class MethodColumn:
    """A column by the pattern of its name. is_outcome: of the target's half, else a policy's signal.

    is_count: whole numbers from 0 on, stored as float32; is_amount: any number from 0 on;
    is_log: any number up to 0; else a probability. at_most: of a count.
    synth: the word of ``svsim synth --also`` that makes one. is_captured: svsim capture records it.
    """

    pattern: str
    width: Width
    meaning: str
    synth: str
    is_outcome: bool = True
    is_count: bool = False
    is_amount: bool = False
    is_log: bool = False
    at_most: float = float("inf")
    is_captured: bool = False

    @property
    def remedy(self) -> str:
        """How to get it."""
        record = "record it beside the trace (docs/methods.md, columns)"
        if self.is_captured:
            record = "record the trace with svsim capture (without --leave-out diagnostics)"
        return f"{record}, or add a synthetic one with svsim synth --also {self.synth}"


PATHS = "paths:rank=.4,spread=1"
METHOD_COLUMNS = (
    MethodColumn(
        "path_rank",
        Width.DEPTHS,
        "rank of the path's token under the drafter, 1: the likeliest, 0: not known",
        PATHS,
        is_count=True,
        at_most=65535,
    ),
    MethodColumn(
        "path_logprob",
        Width.DEPTHS,
        "the drafter's log-probability of the path's token",
        PATHS,
        is_log=True,
    ),
    MethodColumn(
        "top_logprob",
        Width.CHILDREN,
        "the drafter's largest log-probabilities behind the path, falling",
        PATHS,
        is_log=True,
    ),
    MethodColumn(
        "tree_rank",
        Width.LEVELS,
        "place of the path's node in the final ranking of the drafter's own tree, 65535: never grown",
        PATHS,
        is_count=True,
        at_most=65535,
    ),
    MethodColumn(
        "child_index",
        Width.ONE,
        "which of the drafter's sampled siblings is the path's token, 0: none",
        PATHS,
        is_count=True,
        at_most=255,
    ),
    MethodColumn(
        "accept_given_token",
        Width.SIBLINGS,
        "probability that one of the first n siblings is accepted, given the token that is emitted",
        PATHS,
    ),
    MethodColumn(
        "target_entropy",
        Width.CHAIN,
        "entropy of the target's law at each token, nats",
        "entropy:nats=0.6",
        is_amount=True,
        is_captured=True,
    ),
    MethodColumn(
        r"trim_accept_[1-9][0-9]{0,8}",
        Width.CHAIN,
        "acceptance probability of the drafter whose head has so many rows",
        "token_rank",
    ),
    MethodColumn(
        "token_rank",
        Width.ONE,
        "rank of y_t by frequency among the tokens that the target writes, 1: the most frequent",
        "token_rank",
        is_count=True,
    ),
    MethodColumn(
        "judge_accept",
        Width.CHAIN,
        "probability that the judge lets the draft token pass",
        "judge:share=0.8",
    ),
    MethodColumn(
        "fused_accept",
        Width.CHAIN,
        "acceptance probability under the fused distribution of a reflective verification",
        "fused:gain=0.3",
    ),
    MethodColumn(
        "exit_match",
        Width.EXITS,
        "whether the exit's likeliest next token is y_t",
        "exits:layers=2/4/8,of=32,acceptance=.5/.6/.7",
    ),
    MethodColumn(
        "exit_prob",
        Width.EXITS,
        "probability of the exit's likeliest next token",
        "exits:layers=2/4/8,of=32,acceptance=.5/.6/.7",
        is_outcome=False,
    ),
    MethodColumn(
        "block_accepted",
        Width.BLOCKS,
        "accepted draft tokens of a block of that length",
        "blocks:lengths=20/30,acceptance=.87",
        is_count=True,
    ),
    MethodColumn(
        "block_length",
        Width.BLOCKS,
        "draft tokens of such a block before its end of text",
        "blocks:lengths=20/30,acceptance=.87",
        is_count=True,
    ),
)


def method_column(name: str) -> MethodColumn | None:
    """The column of that name; None for a signal or a target column of every trace."""
    found = (column for column in METHOD_COLUMNS if re.fullmatch(column.pattern, name))
    return next(found, None)


def is_outcome_name(name: str) -> bool:
    """Whether a column of that name is of the target's half."""
    column = method_column(name)
    return column is not None and column.is_outcome


def width_of(name: str, widths: Mapping[Width, int]) -> int:
    """Values per row of a column; 0 where the metadata do not say them."""
    column = method_column(name)
    return widths.get(Width.CHAIN if column is None else column.width, 0)
