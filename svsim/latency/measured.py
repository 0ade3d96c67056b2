"""Step times from a table of measured (or modelled) passes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.latency.hardware_spec import Placement
from svsim.latency.head_curve import HeadCurve
from svsim.latency.mixed_pass import MixedPass, attention_s, predict_mixed_s
from svsim.latency.model import OutOfRange
from svsim.latency.pass_costs import CalibratedBox, PassCosts
from svsim.latency.pass_fit import fit_pass_surface
from svsim.latency.pass_surface import FitResiduals, PassSurface
from svsim.latency.pass_work import graph_padded, logit_rows
from svsim.latency.shape import Role, StepShape
from svsim.latency.step_times import RoleRows, hardware_in, read_step_times, select
from svsim.latency.valid_range import ValidRange, checked_choice

__all__ = ["MeasuredLatency", "hardware_in", "read_step_times"]

KEPT_FITS = 64


@dataclass(frozen=True, slots=True)
class MeasuredLatency:
    """Each role's pass as token curve plus attention surface, fitted to one deployment's rows.

    ``source`` names what the rows say (``measured``, ``database``, ``database+roofline`` ...).
    ``out_of_range`` is an explicit choice; ``raise`` unless told otherwise. ``heads``: of the roles
    whose source tells the head (logits, sampling) apart; none of a measured table.
    """

    surfaces: Mapping[Role, PassSurface]
    hardware: str
    tensor_parallel: int
    source: str = "measured"
    overhead_per_step_s: float = 0.0
    draft_is_one_pass: bool = False
    out_of_range: OutOfRange = "raise"
    heads: Mapping[Role, HeadCurve] = field(default_factory=dict)

    @classmethod
    def from_step_times(
        cls,
        columns: Mapping[str, NDArray[Any]],
        hardware: str | None = None,
        tensor_parallel: int | None = None,
        *,
        placements: Mapping[Role, Placement] = MappingProxyType({}),
        out_of_range: OutOfRange = "raise",
        draft_is_one_pass: bool = False,
        where: str = "step times",
    ) -> Self:
        """Fit the rows of one (hardware, tensor_parallel); None takes the first in file order.

        ``columns`` as in ``step_times.py``; ``hardware_in(columns)`` lists what there is; ``placements``
        choose the small models' rows (``select``); ``where`` leads error messages. Raises LatencyError,
        one line, for a bad table or unknown hardware.
        """
        choice = checked_choice(out_of_range)
        chosen = select(columns, hardware, tensor_parallel, where, placements)
        sources = dict.fromkeys(name for rows in chosen.roles.values() for name in rows.sources)
        return cls(
            MappingProxyType({role: _fit(_Content.of(rows)) for role, rows in chosen.roles.items()}),
            chosen.hardware,
            chosen.tensor_parallel,
            "+".join(sources),
            chosen.overhead_per_step_s,
            draft_is_one_pass,
            choice,
        )

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        hardware: str | None = None,
        tensor_parallel: int | None = None,
        *,
        placements: Mapping[Role, Placement] = MappingProxyType({}),
        out_of_range: OutOfRange = "raise",
        draft_is_one_pass: bool = False,
    ) -> Self:
        """``from_step_times`` on a Parquet calibration table."""
        return cls.from_step_times(
            read_step_times(path),
            hardware,
            tensor_parallel,
            placements=placements,
            out_of_range=out_of_range,
            draft_is_one_pass=draft_is_one_pass,
            where=str(path),
        )

    @property
    def roles(self) -> frozenset[Role]:
        """The roles the table has rows for."""
        return frozenset(self.surfaces)

    @property
    def separates_head(self) -> bool:
        """Whether every role's head is known."""
        return self.surfaces.keys() <= self.heads.keys()

    @property
    def valid_range(self) -> Mapping[Role, ValidRange]:
        """The calibrated box of each role."""
        return {role: surface.valid_range for role, surface in self.surfaces.items()}

    @property
    def residuals(self) -> Mapping[Role, FitResiduals]:
        """How well each role's fit meets its own rows."""
        return {role: surface.residuals for role, surface in self.surfaces.items()}

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        sequences, tokens, kv = shape.checked(self.surfaces.keys(), self.hardware)
        surface = self.surfaces[shape.role]
        quantities = surface.valid_range.apply(
            self.out_of_range, shape.role, self.hardware, (sequences, tokens, kv / sequences)
        )
        pass_s = surface.predict_s(*quantities)
        if shape.is_whole:
            return pass_s
        head = self.heads.get(shape.role)
        if head is None:
            return np.asarray(shape.layers * pass_s)
        sequences, tokens, _ = quantities
        whole_s = head.seconds(logit_rows(shape.role, sequences, graph_padded(tokens)))
        layers_s = shape.layers * np.maximum(pass_s - whole_s, 0.0)
        if shape.logit_tokens is None:
            return np.asarray(layers_s + whole_s)
        return np.asarray(layers_s + head.seconds(graph_padded(shape.logit_tokens)))

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass: see ``MixedLatencyModel``."""
        mixed = MixedPass.of(decode, chunk_tokens, chunk_kv, self.roles, self.hardware)
        return predict_mixed_s(self, decode, mixed)

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts: see ``MixedLatencyModel``."""
        return attention_s(self, shape)

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a role's pass."""
        surface, head = self.surfaces[role], self.heads.get(role)
        return PassCosts(
            surface.curve_s,
            surface.context,
            row_s=surface.row_s,
            head_s=head.seconds if head else None,
            holds_head=True,
            row_rule=role,
            box=CalibratedBox(surface.valid_range, self.out_of_range, self.hardware),
        )


@dataclass(frozen=True, slots=True)
class _Content:
    """Rows that are the same where their bytes are."""

    digest: bytes
    rows: RoleRows = field(compare=False)

    @classmethod
    def of(cls, rows: RoleRows) -> "_Content":
        """The counts and seconds are all that a fit reads."""
        columns = (rows.num_sequences, rows.num_new_tokens, rows.num_kv_tokens, rows.seconds)
        return cls(hashlib.blake2b(np.stack(columns).tobytes()).digest(), rows)


@lru_cache(maxsize=KEPT_FITS)
def _fit(content: _Content) -> PassSurface:
    """A fit takes most of a second: cells of a sweep, and levels of a question, ask for the same one."""
    return fit_pass_surface(content.rows)
