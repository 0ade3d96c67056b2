"""A decoding method bound to a trace and a latency model, as plain arrays: what the compiled step reads."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from svsim.engines.prices import EMPTY_SHEET, PriceSheet


class Drafting(NamedTuple):
    """What the drafter does in a step (``decoding/work.py``); enumerations as integers.

    as_planned: drafts only the length that is verified (else always K); a rule is then asked before the
        draft. is_whole: but is paid for K tokens all the same (a block is proposed at once).
    kv_budget: tokens of context per sequence that a pass reads at most; 0: all.
    tree_passes, tree_width: of a tree: passes behind the first, and their nodes per sequence on average.
    """

    schedule: int
    reading: int
    as_planned: bool
    is_whole: bool
    tokens_beside: int
    of_one_sequence: bool
    kv_budget: int = 0
    tree_passes: int = 0
    tree_width: int = 0


class BoundColumns(NamedTuple):
    """A method on T output positions of a trace.

    accepted: uint8 [T], accepted draft tokens of the whole chain (the target's answer).
    planned:  uint8 [T] for planned lengths, else empty.
    survival: uint16 [T, K] encoded believed survival for selected lengths, else (or without belief) [0, K];
        of a rule that is asked before every pass, the code of a head's law.
    drafted:  uint8 [T] where planned lengths verify less than is drafted, else empty.
    turns: int32 [T] where two models take turns (``EntropySwitching.turns``), else empty.
    exits:    uint8 [T, E] where a step chooses among exits: tokens that each gets right from a row on; else
              [0, 1].
    looked_at: uint16 [T, K] of a rule that is asked before every pass, the code of the token and its law;
        else [0, 1].
    """

    accepted: NDArray[np.uint8]
    planned: NDArray[np.uint8]
    survival: NDArray[np.uint16]
    drafted: NDArray[np.uint8] = np.zeros(0, np.uint8)
    turns: NDArray[np.int32] = np.zeros(0, np.int32)
    exits: NDArray[np.uint8] = np.zeros((0, 1), np.uint8)
    looked_at: NDArray[np.uint16] = np.zeros((0, 1), np.uint16)

    def after(self, earlier: "BoundColumns") -> "BoundColumns":
        """These columns behind earlier ones."""
        return BoundColumns(
            np.concatenate([earlier.accepted, self.accepted]),
            np.concatenate([earlier.planned, self.planned]),
            np.concatenate([earlier.survival, self.survival]),
            np.concatenate([earlier.drafted, self.drafted]),
            np.concatenate([earlier.turns, self.turns]),
            np.concatenate([earlier.exits, self.exits]),
            np.concatenate([earlier.looked_at, self.looked_at]),
        )

    def at(self, rows: NDArray[np.int64] | slice) -> "BoundColumns":
        """The columns at some rows only; a column that is not there stays empty."""
        return BoundColumns._make(column[rows] if len(column) else column for column in self)


class Turn(NamedTuple):
    """Whether drafting and companion run beside the verification of another micro-batch like this one, and
    the factors on the seconds of either side.

    gammas: int64 [N + 1], where they run beside the verification of the same one, on devices of their own:
    draft tokens of a step by the number of sequences in it; else empty. sync_s: of each such step.
    """

    overlaps: bool
    draft_slowdown: float
    verify_slowdown: float
    gammas: NDArray[np.int64]
    sync_s: float


class StepPrices(NamedTuple):
    """Host seconds of a step and of each sequence in it, and the seconds of passes; a draft pass of its
    own host time besides. draft: the first, or only, pass of a draft; later_draft: the others."""

    overhead_s: float
    overhead_per_sequence_s: float
    target: PriceSheet
    draft: PriceSheet
    later_draft: PriceSheet
    companion: PriceSheet


class StepProgram(NamedTuple):
    """A decoding method on a trace and a latency model: K draft tokens, lengths from ``plan``.

    options: float64 [], constants of the selection rule. multiplicity: identical copies that every slot
    stands for (1: none). believed: the prices that the method plans with, is_mispriced: if not those that the
    clock charges. ask_s: host seconds of asking a rule between two passes.
    """

    num_speculative_tokens: int
    plan: int
    uses_companion: bool
    multiplicity: int
    drafting: Drafting
    turn: Turn
    columns: BoundColumns
    options: NDArray[np.float64]
    prices: StepPrices
    believed: StepPrices
    is_mispriced: bool
    ask_s: float


def empty_program() -> StepProgram:
    """A program of no work: its field types are those of every program."""
    columns = BoundColumns(np.zeros(0, np.uint8), np.zeros(0, np.uint8), np.zeros((0, 1), np.uint16))
    prices = StepPrices(0.0, 0.0, EMPTY_SHEET, EMPTY_SHEET, EMPTY_SHEET, EMPTY_SHEET)
    drafting, turn = Drafting(0, 0, False, False, 0, False), Turn(False, 1.0, 1.0, np.zeros(0, np.int64), 0.0)
    return StepProgram(0, 0, False, 1, drafting, turn, columns, np.zeros(0), prices, prices, False, 0.0)


class Beside(NamedTuple):
    """What work beside the batch (chunks of prompts) adds to a step: seconds of drafting and of the
    companion, and of verifications by their tokens beyond one per sequence (float64 [n K + 1], or empty)."""

    draft_s: float
    companion_s: float
    verify_s: NDArray[np.float64]
