"""The dense acceptance trace: what would happen if a step started at any output position.

Words
-----
output position   one row: the chain of K draft tokens proposed there, their signals, the outcome.
request           consecutive positions 0, 1, ... of one generation, behind ``num_prompt_tokens``.
observable        columns a policy may see: the draft's and the companion's signals.
target            columns only the target knows: ``accept_prob`` a_d, ``target_overlap``,
                  ``num_accepted`` (recorded coins: accepted draft tokens of the whole chain).

The two halves are separate objects: whoever is handed ``trace.observable`` cannot peek.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from svsim.errors import MissingSignalError, TraceError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.trace.method_columns import Width, method_column

AcceptanceKind = Literal["captured", "reconstructed", "synthetic", "imported"]
Chains = Literal["coherent", "independent", "stepwise"]
Signal = NDArray[np.float32]

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class TraceMetadata:
    """Where a trace comes from: the JSON of the Parquet metadata key ``svsim``.

    ``models`` maps target, draft and companion to {"name": ..., "geometry": {...}};
    ``sampling`` holds {"greedy": bool, "temperature": ..., ...}; ``extra`` keeps unknown keys.
    ``exits``, ``blocks`` and ``trees`` say what columns of exit layers, block drafts and trees are for
    (``method_columns``).
    """

    num_speculative_tokens: int
    acceptance_kind: AcceptanceKind
    chains: Chains
    models: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    hardware: str | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    command: str | None = None
    date: str | None = None
    exits: Mapping[str, Any] | None = None
    blocks: tuple[int, ...] | list[int] | None = None
    trees: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        k = self.num_speculative_tokens
        if not 1 <= k <= MAX_SPECULATIVE_TOKENS:
            raise TraceError(
                f"num_speculative_tokens: got {printable(k, 40)}, expected an integer in "
                f"1..{MAX_SPECULATIVE_TOKENS}; record shorter chains"
            )

    @property
    def widths(self) -> Mapping[Width, int]:
        """Values per row of a column, by what they are for."""
        exits = len(self.exits["layers"]) if self.exits else 0
        blocks = len(self.blocks) if self.blocks else 0
        trees = self.trees or {}
        depths = trees.get("depths", 0)
        return {
            Width.CHAIN: self.num_speculative_tokens,
            Width.ONE: 1,
            Width.EXITS: exits,
            Width.BLOCKS: blocks,
            Width.DEPTHS: depths,
            Width.CHILDREN: depths * trees.get("children", 0),
            Width.LEVELS: trees.get("levels", 0),
            Width.SIBLINGS: trees.get("siblings", 0),
        }

    @property
    def is_greedy(self) -> bool:
        """Whether the target decodes greedily (then every verification rule is lossless)."""
        return bool(self.sampling.get("greedy", False))

    @property
    def draft_is_deterministic(self) -> bool:
        """Whether the prefix decides the draft (then a token tells a rule nothing new: lossless, too)."""
        return self.is_greedy or bool(self.sampling.get("deterministic_draft", False))


@dataclass(frozen=True, slots=True)
class ObservableColumns:
    """What a serving system sees before it verifies: named signals, float32 [T, K] each.

    ``draft_prob`` q(x_d), ``draft_entropy``, ``similarity`` S_d = sum_v min(q, c),
    ``companion_accept`` A_d = min(1, c(x_d) / q(x_d)), and whatever else was recorded.
    """

    signals: Mapping[str, Signal]

    def require(self, names: tuple[str, ...], needed_by: str) -> tuple[Signal, ...]:
        """The named signals, or MissingSignalError saying which are absent and how to get them."""
        missing = [name for name in names if name not in self.signals]
        if missing:
            present = ", ".join(sorted(self.signals)) or "none"
            raise MissingSignalError(
                f"{needed_by} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}, which this "
                f"trace lacks (it has: {present}); record one with a companion model (svsim capture), "
                f"or leave {needed_by} out"
            )
        return tuple(self.signals[name] for name in names)


@dataclass(frozen=True, slots=True)
class TargetColumns:
    """What only the target model knows. Policies never receive this object.

    ``outcomes``: columns of single methods (``method_columns``), float32 [T, W]. ``extra``: further columns
    ``target_*`` float32 [T, K] of a capture, for whoever reads the file itself; they are written with the
    trace and not loaded again.
    """

    num_accepted: NDArray[np.int16]
    accept_prob: Signal | None = None
    target_overlap: Signal | None = None
    outcomes: Mapping[str, Signal] = field(default_factory=dict, kw_only=True)
    extra: Mapping[str, Signal] = field(default_factory=dict, kw_only=True)

    def require_accept_prob(self, needed_by: str) -> Signal:
        """``accept_prob``, or MissingSignalError: it is the target's own, and not every trace has it."""
        if self.accept_prob is None:
            raise MissingSignalError(
                f"{needed_by} needs the column accept_prob, which this trace lacks; record the trace with "
                f"svsim capture, or leave {needed_by} out"
            )
        return self.accept_prob

    def require_outcome(self, name: str, needed_by: str) -> Signal:
        """A method's column, or MissingSignalError saying how to get it."""
        if name not in self.outcomes:
            raise MissingSignalError(missing_outcome(name, needed_by))
        return self.outcomes[name]


def missing_outcome(name: str, needed_by: str) -> str:
    """What to say where a trace lacks a method's column."""
    column = method_column(name)
    assert column is not None
    return (
        f"{needed_by} needs the column {name} ({column.meaning}), which this trace lacks; {column.remedy}, "
        f"or leave {needed_by} out"
    )


@dataclass(frozen=True, slots=True)
class TokenTrace:
    """R requests, T output positions, K draft tokens per position, ordered by (request, position).

    first_position: int64 [R + 1], request r owns the rows first_position[r] : first_position[r + 1].
    step_times: rows of the key ``svsim.step_times`` as columns, or None.
    """

    request_ids: tuple[str, ...]
    first_position: NDArray[np.int64]
    num_prompt_tokens: NDArray[np.int32]
    observable: ObservableColumns
    target: TargetColumns
    metadata: TraceMetadata
    tasks: tuple[str, ...] | None = None
    step_times: Mapping[str, NDArray[Any]] | None = None

    @property
    def num_speculative_tokens(self) -> int:
        """K, the drafted tokens per position."""
        return self.metadata.num_speculative_tokens

    @property
    def num_requests(self) -> int:
        """R."""
        return len(self.request_ids)

    @property
    def num_positions(self) -> int:
        """T, over all requests."""
        return int(self.first_position[-1])

    @property
    def num_output_tokens(self) -> NDArray[np.int64]:
        """Output tokens of each request, int64 [R]."""
        return np.diff(self.first_position)

    @property
    def num_context_tokens(self) -> NDArray[np.int32]:
        """Prompt plus output before each position, int32 [T]."""
        lengths = self.num_output_tokens
        base = self.num_prompt_tokens - self.first_position[:-1]
        return (np.arange(self.num_positions) + np.repeat(base, lengths)).astype(np.int32)

    def rows_of(self, requests: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of the given requests, in their order."""
        if len(requests) == 0:
            return np.zeros(0, np.int64)
        lengths = self.num_output_tokens[requests]
        first = np.cumsum(lengths) - lengths
        shift = np.repeat(self.first_position[requests] - first, lengths)
        return np.asarray(np.arange(lengths.sum()) + shift, np.int64)

    def select(self, requests: NDArray[np.int64]) -> "TokenTrace":
        """The trace of the given requests only, in their order."""
        rows = self.rows_of(requests)
        lengths = self.num_output_tokens[requests]

        def take(column: Signal | None) -> Signal | None:
            return None if column is None else column[rows]

        return replace(
            self,
            request_ids=tuple(self.request_ids[r] for r in requests),
            first_position=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            num_prompt_tokens=self.num_prompt_tokens[requests],
            observable=ObservableColumns({n: s[rows] for n, s in self.observable.signals.items()}),
            target=TargetColumns(
                self.target.num_accepted[rows],
                take(self.target.accept_prob),
                take(self.target.target_overlap),
                outcomes={n: s[rows] for n, s in self.target.outcomes.items()},
            ),
            tasks=None if self.tasks is None else tuple(self.tasks[r] for r in requests),
        )
