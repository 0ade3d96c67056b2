"""The two schedules of ExeGPT (arXiv 2404.07947), evaluated at one point or over a box of them.

RRA (round-robin allocation): all GPUs encode B_E prompts, then run N_D decode passes. A phase lasts
encode(B_E) + sum over u of decode(batch u); the batch shrinks as queries end.
WAA (workload-aware allocation): some GPUs only encode, the others only decode, at the same time: N_D = 1, and
a period lasts the longer of the two. Both groups are priced by one latency model: a deployment for each.

Throughput is B_E per phase. The latency bound is of a long query (the 99th percentile of output lengths
unless said): RRA ceil(s/N_D) phases, as the paper counts; WAA its encoding and s periods.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from svsim.errors import require
from svsim.phase_schedules.phase_times import PhaseTimes
from svsim.phase_schedules.residency import (
    Floats,
    Law,
    OutputLengths,
    PhaseBatches,
    residents_per_query,
)

Kind = Literal["rra", "waa"]
TAIL = 0.99
MAX_BOX = 4096


@dataclass(frozen=True, slots=True)
class ScheduledPhase:
    """One schedule and what it gives; B_E, N_D and B_D as the paper has them.

    phase_s: seconds of a phase (RRA) or a period (WAA), of which encode_s and decode_s (WAA: side by side).
    throughput: queries/s. latency_s: of a query of ``tail_tokens`` output tokens. num_kv_tokens: resident at
    most in a phase, on average over phases.
    """

    kind: Kind
    be: int
    nd: int
    law: Law
    bd: float
    phase_s: float
    encode_s: float
    decode_s: float
    throughput: float
    output_tok_s: float
    latency_s: float
    tail_tokens: int
    mean_decode_batch: float
    num_kv_tokens: float
    source: str

    @property
    def label(self) -> str:
        """As ``--schedule`` spells it."""
        passes = f",nd={self.nd}" if self.kind == "rra" else ""
        law = f",law={self.law}" if self.law is not Law.RESIDENT else ""
        return f"{self.kind}:be={self.be}{passes}{law}"

    def to_row(self) -> dict[str, Any]:
        """For JSON: every number, seconds."""
        return {
            "schedule": self.label,
            "kind": self.kind,
            "be": self.be,
            "nd": self.nd,
            "law": str(self.law),
            "bd": self.bd,
            "phase_s": self.phase_s,
            "encode_s": self.encode_s,
            "decode_s": self.decode_s,
            "throughput": self.throughput,
            "output_tok_s": self.output_tok_s,
            "latency_s": self.latency_s,
            "tail_tokens": self.tail_tokens,
            "mean_decode_batch": self.mean_decode_batch,
            "num_kv_tokens": self.num_kv_tokens,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Points:
    """Schedules of one N_D and many B_E: float64 [len(be)] each."""

    phase_s: Floats
    encode_s: Floats
    decode_s: Floats
    latency_s: Floats
    num_kv_tokens: Floats


@dataclass(frozen=True, slots=True)
class PhaseModel:
    """Queries of ``prompt_tokens`` on average and these output lengths, at these times, by one law.

    tail_tokens: output tokens of the query whose latency is bounded; None: the 99th percentile.
    """

    kind: Kind
    lengths: OutputLengths
    prompt_tokens: float
    times: PhaseTimes
    law: Law = Law.RESIDENT
    tail_tokens: int | None = None
    _batches: dict[int, PhaseBatches] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        require(self.prompt_tokens >= 1, f"prompts of {self.prompt_tokens:g} tokens; expected at least 1")

    @property
    def tail(self) -> int:
        """Output tokens of the query whose latency is bounded."""
        return self.lengths.quantile(TAIL) if self.tail_tokens is None else self.tail_tokens

    def batches(self, nd: int) -> PhaseBatches:
        """Per encoded query: what each pass of a phase finds running."""
        if nd not in self._batches:
            self._batches[nd] = PhaseBatches.of(self.lengths, nd, self.law_of(nd))
        return self._batches[nd]

    def law_of(self, nd: int) -> Law:
        """WAA's published rule is the resident law; the other is RRA's alone."""
        return self.law if self.kind == "rra" else Law.RESIDENT

    def kv_per_query(self, nd: int) -> Floats:
        """KV tokens that each pass of a phase reads, per encoded query: float64 [N_D]."""
        found = self.batches(nd)
        return found.queries * self.prompt_tokens + found.output_tokens

    def at(self, be: int, nd: int = 1) -> ScheduledPhase:
        """One schedule. InputError unless both are whole numbers from 1 (WAA: N_D = 1)."""
        self.check(be, nd)
        points = self.points(np.array([float(be)]), nd)
        phase_s = float(points.phase_s[0])
        return ScheduledPhase(
            kind=self.kind,
            be=be,
            nd=nd,
            law=self.law_of(nd),
            bd=be * residents_per_query(self.lengths, nd, self.law_of(nd)),
            phase_s=phase_s,
            encode_s=float(points.encode_s[0]),
            decode_s=float(points.decode_s[0]),
            throughput=be / phase_s,
            output_tok_s=be * self.lengths.mean / phase_s,
            latency_s=float(points.latency_s[0]),
            tail_tokens=self.tail,
            mean_decode_batch=be * float(self.batches(nd).queries.mean()),
            num_kv_tokens=float(points.num_kv_tokens[0]),
            source=self.times.source,
        )

    def check(self, be: int, nd: int) -> None:
        """InputError for a point that is no schedule."""
        for name, value in (("be", be), ("nd", nd)):
            require(
                1 <= value <= MAX_BOX,
                f"{self.kind}: {name}={value} is out of range; expected 1 to {MAX_BOX}",
            )
        require(
            self.kind == "rra" or nd == 1, f"waa: nd={nd}, but it encodes at every decode pass; leave nd out"
        )

    def points(self, be: Floats, nd: int) -> Points:
        """Schedules of these B_E at one N_D."""
        queries, kv = self.batches(nd).queries, self.kv_per_query(nd)
        encode_s = self.times.encode_s(be, be * self.prompt_tokens)
        decode_s = self.times.decode_s(be[:, None] * queries, be[:, None] * kv).sum(axis=1)
        if self.kind == "rra":
            phase_s = encode_s + decode_s
            latency_s = -(-self.tail // nd) * phase_s
        else:
            phase_s = np.maximum(encode_s, decode_s)
            latency_s = encode_s + self.tail * phase_s
        return Points(phase_s, encode_s, decode_s, latency_s, be * kv.max())

    def least_phase_s(self, be: int, first_nd: int, last_nd: int) -> tuple[float, float]:
        """A lower bound of phase and latency for all schedules of at least ``be`` and these N_D.

        Every pass finds at least what the emptiest of these N_D leaves it; there are ``first_nd`` at least.
        """
        found = [self.batches(nd) for nd in range(first_nd, last_nd + 1)]
        queries = np.min([one.queries[:first_nd] for one in found], axis=0)
        ages = np.min([one.output_tokens[:first_nd] for one in found], axis=0)
        encode_s = float(self.times.encode_s(np.array([float(be)]), np.array([be * self.prompt_tokens]))[0])
        kv = queries * self.prompt_tokens + ages
        decode_s = float(self.times.decode_s(be * queries, be * kv).sum())
        if self.kind == "rra":
            phase_s = encode_s + decode_s
            return phase_s, -(-self.tail // last_nd) * phase_s
        phase_s = max(encode_s, decode_s)
        return phase_s, encode_s + self.tail * phase_s

    def with_law(self, law: Law) -> "PhaseModel":
        """The same by another law."""
        return replace(self, law=law, _batches={})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a schedule must keep: seconds of a long query, resident KV tokens; None: no bound."""

    latency_s: float | None = None
    num_kv_tokens: float | None = None

    def allows(self, latency_s: Floats, num_kv_tokens: Floats) -> Any:
        """Whether each schedule keeps them, and ends at all: bool of the arguments' shape."""
        fine = np.isfinite(latency_s) & np.isfinite(num_kv_tokens)
        if self.latency_s is not None:
            fine &= latency_s <= self.latency_s
        if self.num_kv_tokens is not None:
            fine &= num_kv_tokens <= self.num_kv_tokens
        return fine


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """B_E and N_D to choose from, ends included."""

    be: tuple[int, int]
    nd: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        for name, (low, high) in (("be", self.be), ("nd", self.nd)):
            require(
                1 <= low <= high <= MAX_BOX,
                f"{name}={low}-{high}: expected a range within 1 to {MAX_BOX}",
            )
