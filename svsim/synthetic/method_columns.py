"""Synthetic columns that single methods replay (``svsim synth --also``), drawn beside a synthetic trace.

Words
-----
ease of a row   uniform in 0..1: a rank of its acceptance at depth 1 and of noise, in equal parts. What
                an exit or a block gets right follows it, so it comes in the bursts of the trace, and of two
                drafters the better one is right wherever the worse one is.

Nothing here is recorded: the trace says so (``acceptance_kind`` synthetic; ``extra.synthetic_columns``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError, printable
from svsim.limits import MAX_SPECULATIVE_TOKENS
from svsim.random_streams import RandomStreams
from svsim.synthetic.outcome import Outcome
from svsim.synthetic.tree_columns import tree_columns
from svsim.trace.metadata import MAX_BLOCKS, MAX_EXITS, MAX_LAYERS
from svsim.trace.token_trace import ObservableColumns, Signal, TokenTrace

Floats = NDArray[np.float64]
Words = Mapping[str, str]
TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Added:
    """Columns of either half, what the metadata say of them, and asked beside made."""

    outcomes: Mapping[str, Signal]
    signals: Mapping[str, Signal]
    about: Mapping[str, Any]
    checks: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of columns: how to draw it, and its options with their defaults (None: to be given)."""

    draw: Callable[[TokenTrace, "Asked", RandomStreams], Added]
    options: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of one ``--also``."""

    text: str
    values: Words

    def number(self, name: str, least: float, most: float) -> float:
        """A number of a range."""
        return self.numbers(name, least, most, 1)[0]

    def numbers(self, name: str, least: float, most: float, count: int | None = None) -> tuple[float, ...]:
        """Numbers of a range, with / between them; ``count`` of them."""
        try:
            found = tuple(float(part) for part in self.values[name].split("/"))
        except ValueError:
            found = ()
        right = len(found) in ((count,) if count else range(1, MAX_EXITS + 1))
        if not right or not all(least <= number <= most for number in found):
            many = "a number" if count == 1 else f"{count or 'some'} numbers with / between them,"
            raise InputError(
                f"`also` {printable(self.text, 60)}: {name}={printable(self.values[name], 40)}; expected "
                f"{many} from {least:g} to {most:g}"
            )
        return found

    def whole(self, name: str, least: int, most: int) -> tuple[int, ...]:
        """Rising whole numbers of a range."""
        found = self.numbers(name, least, most)
        if any(number != int(number) for number in found) or list(found) != sorted(set(found)):
            raise InputError(
                f"`also` {printable(self.text, 60)}: {name}={self.values[name]}; expected rising "
                "whole numbers"
            )
        return tuple(int(number) for number in found)


def with_columns(
    trace: TokenTrace, texts: Sequence[str], seed: int
) -> tuple[TokenTrace, tuple[Outcome, ...]]:
    """The trace with the columns of ``KIND[:key=value,...]`` texts. InputError for what cannot be."""
    checks: list[Outcome] = []
    for number, text in enumerate(texts):
        kind, asked = _parsed(text)
        added = KINDS[kind].draw(trace, asked, RandomStreams(seed + 1000 * (number + 1)))
        checks += added.checks
        about = trace.metadata
        told = {**about.extra, "synthetic_columns": [*about.extra.get("synthetic_columns", ()), text]}
        trace = replace(
            trace,
            observable=ObservableColumns({**trace.observable.signals, **added.signals}),
            target=replace(trace.target, outcomes={**trace.target.outcomes, **added.outcomes}),
            metadata=replace(about, extra=told, **added.about),
        )
    return trace, tuple(checks)


def _parsed(text: str) -> tuple[str, Asked]:
    kind, _, rest = text.strip().partition(":")
    if kind not in KINDS:
        raise InputError(f"unknown `also` {printable(kind, 40)!r}; choose one of {', '.join(KINDS)}")
    options = KINDS[kind].options
    given = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = [name for name in given if name not in options]
    if unknown:
        known = ", ".join(options)
        raise InputError(f"`also` {kind}: unknown option {printable(unknown[0], 40)!r}; options: {known}")
    values = {name: given.get(name, default) for name, default in options.items()}
    absent = [name for name, value in values.items() if value is None]
    if absent:
        raise InputError(f"`also` {kind}: {absent[0]} is missing; give {kind}:{absent[0]}=...")
    return kind, Asked(text, {name: str(value) for name, value in values.items()})


# -- kinds -------------------------------------------------------------------------------------------------


def _token_rank(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """Frequency ranks of the emitted tokens: Zipf's law."""
    vocabulary = int(asked.number("vocabulary", 2, 10_000_000))
    weight = np.arange(1, vocabulary + 1, dtype=np.float64) ** -asked.number("exponent", 0.0, 10.0)
    law = np.cumsum(weight) / weight.sum()
    ranks = 1 + np.searchsorted(law, streams.generator("token ranks").random(trace.num_positions))
    return Added({"token_rank": np.minimum(ranks, vocabulary).astype(np.float32)[:, None]}, {}, {})


def _judge(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """Verdicts of a judge: a token of an output position passes or not, whichever chain holds it."""
    share, k = asked.number("share", 0.0, 1.0), trace.num_speculative_tokens
    passes = streams.generator("judge").random(trace.num_positions + k - 1) < share
    column = np.lib.stride_tricks.sliding_window_view(passes, k).astype(np.float32)
    check = Outcome("judge_accept", share, float(column[:, 0].mean()), TOLERANCE)
    return Added({"judge_accept": column}, {}, {}, (check,))


def _fused(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """Acceptance under the fused distribution: a share of what was lacking is gained."""
    accept = _accept(trace)
    gain = asked.number("gain", 0.0, 1.0)
    return Added({"fused_accept": (accept + gain * (1.0 - accept)).astype(np.float32)}, {}, {})


def _exits(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """Exits that are right on the easier rows, each on its share; deeper ones on more."""
    of = int(asked.number("of", 2, MAX_LAYERS))
    layers = asked.whole("layers", 1, of - 1)
    acceptance = np.array(asked.numbers("acceptance", 0.0, 1.0, len(layers)))
    generator = streams.generator("exits")
    above = _ease(trace, generator)[:, None] - (1.0 - acceptance)
    match = (above > 0).astype(np.float32)
    noise = generator.normal(0.0, 0.15, above.shape)
    prob = np.clip(0.5 + 0.5 * above + noise, 0.0, 1.0).astype(np.float32)
    checks = tuple(
        Outcome(f"exit_match at layer {layer}", float(asked_), float(made), TOLERANCE)
        for layer, asked_, made in zip(layers, acceptance, match.mean(axis=0), strict=True)
    )
    about = {"exits": {"layers": list(layers), "num_layers": of}}
    return Added({"exit_match": match}, {"exit_prob": prob}, about, checks)


def _blocks(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """Blocks whose tokens are right on the easier rows; a block ends early with a chance per token."""
    lengths = asked.whole("lengths", 1, MAX_SPECULATIVE_TOKENS)
    if len(lengths) > MAX_BLOCKS:
        raise InputError(f"`also` {printable(asked.text, 60)}: at most {MAX_BLOCKS} lengths")
    acceptance, end = asked.number("acceptance", 0.0, 1.0), asked.number("end", 0.0, 1.0)
    generator = streams.generator("blocks")
    right = _ease(trace, generator) > 1.0 - acceptance
    run = np.minimum(_runs(right), lengths[-1])
    stop = generator.geometric(end, trace.num_positions) - 1 if end > 0 else np.full(len(run), lengths[-1])
    left = np.repeat(trace.first_position[1:], trace.num_output_tokens) - np.arange(trace.num_positions)
    longest = np.minimum(stop, left)[:, None]
    length = np.minimum(longest, lengths).astype(np.float32)
    check = Outcome("tokens of a block that are right", acceptance, float(right.mean()), TOLERANCE)
    outcomes = {"block_length": length, "block_accepted": np.minimum(run[:, None], length).astype(np.float32)}
    return Added(outcomes, {}, {"blocks": list(lengths)}, (check,))


def _entropy(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """The target's entropy: the draft's through noise, scaled to a mean."""
    nats, draft = asked.number("nats", 1e-3, 20.0), trace.observable.signals.get("draft_entropy")
    if draft is None:
        raise InputError(
            f"`also` {printable(asked.text, 60)}: follows the draft's entropy, which this trace lacks; leave "
            "reported rates out"
        )
    drawn = draft * streams.generator("target entropy").gamma(4.0, 0.25, draft.shape)
    column = (drawn * (nats / max(float(drawn[:, 0].mean()), 1e-9))).astype(np.float32)
    check = Outcome("target_entropy, nats", nats, float(column[:, 0].mean()), TOLERANCE * nats)
    return Added({"target_entropy": column}, {}, {}, (check,))


def _paths(trace: TokenTrace, asked: Asked, streams: RandomStreams) -> Added:
    """What trees grow from (``tree_columns``): a stateless drafter that is right where the trace's is."""
    rank, spread = asked.number("rank", 0.01, 0.99), asked.number("spread", 0.0, 10.0)
    most = {"children": 256, "siblings": 255, "beam": 256, "depth": 63}
    children, siblings, beam, depth = (asked.whole(name, 1, most[name])[0] for name in most)
    if beam > children:
        raise InputError(f"`also` {printable(asked.text, 60)}: beam={beam} exceeds children={children}")
    drawn = tree_columns(trace, (rank, spread), children, (beam, depth), siblings, streams)
    second = drawn["path_rank"][drawn["path_rank"] > 1]
    check = Outcome("tokens missed at rank 1 that are the 2nd", rank, float((second == 2).mean()), TOLERANCE)
    trees = {"depths": 1, "children": children, "beam": beam, "levels": depth + 1}
    about = {"trees": {**trees, "siblings": siblings, "rule": "synthetic"}}
    return Added(drawn, {}, about, (check,))


def _accept(trace: TokenTrace) -> Floats:
    """Acceptance probabilities; outcomes in their place where there are none."""
    if trace.target.accept_prob is not None:
        return trace.target.accept_prob.astype(np.float64)
    depth = np.arange(trace.num_speculative_tokens)
    return (depth < trace.target.num_accepted[:, None]).astype(np.float64)


def _ease(trace: TokenTrace, generator: np.random.Generator) -> Floats:
    """float64 [T], uniform."""
    first = _accept(trace)[:, 0] + 1e-6 * generator.random(trace.num_positions)
    mixed = _ranks(first) + generator.random(trace.num_positions)
    return _ranks(mixed)


def _ranks(values: Floats) -> Floats:
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / len(values)
    return ranks


def _runs(right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows from each on that are right one after another, int64 [T]."""
    wrong = np.append(np.flatnonzero(~right), len(right))
    rows = np.arange(len(right))
    return np.asarray(wrong[np.searchsorted(wrong, rows)] - rows, np.int64)


KINDS: Mapping[str, Kind] = {
    "token_rank": Kind(_token_rank, {"vocabulary": "128256", "exponent": "1"}),
    "judge": Kind(_judge, {"share": None}),
    "fused": Kind(_fused, {"gain": None}),
    "exits": Kind(_exits, {"layers": None, "of": None, "acceptance": None}),
    "entropy": Kind(_entropy, {"nats": None}),
    "paths": Kind(
        _paths, {"rank": "0.4", "spread": "1", "children": "16", "beam": "10", "depth": "7", "siblings": "8"}
    ),
    "blocks": Kind(_blocks, {"lengths": None, "acceptance": None, "end": "0"}),
}
