"""Models on different hardware: the target here, the draft or the companion on devices of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.latency.geometry import ModelGeometry
from svsim.latency.head_latency import with_head
from svsim.latency.host import HostTime, Speculation, host_time
from svsim.latency.mixed_pass import ScalesPrompts
from svsim.latency.model import LatencyModel
from svsim.latency.pass_costs import PassCosts
from svsim.latency.shape import Role, StepShape
from svsim.latency.wrapped import WrappedLatency, as_mixed
from svsim.spelling import deployment_name


@dataclass(frozen=True, slots=True)
class PlacedLatency(WrappedLatency):
    """``base``, but the models of some roles run on other devices; in a step all times add.

    elsewhere: what prices the passes of those roles. link_s: of every step in which one of them runs.
    """

    elsewhere: Mapping[Role, LatencyModel]
    link_s: float = 0.0

    @property
    def source(self) -> str:
        """The sources of all passes."""
        sources = [name for part in parts_of(self) for name in part.source.split("+")]
        return "+".join(dict.fromkeys(sources))

    @property
    def options(self) -> str:
        """Where small models run: ``draft_hardware=l40s:tp=1``."""
        names = {r: deployment_name(one.hardware, one.tensor_parallel) for r, one in self.elsewhere.items()}
        return ",".join(f"{role}_hardware={name}" for role, name in names.items())

    @property
    def roles(self) -> frozenset[Role]:
        """Those of the base, and those elsewhere."""
        return self.base.roles | self.elsewhere.keys()

    @property
    def draft_is_one_pass(self) -> bool:
        """As what prices the draft says."""
        return self.of(Role.DRAFT).draft_is_one_pass

    @property
    def separates_head(self) -> bool:
        """Whether all sources do."""
        return self.base.separates_head and all(one.separates_head for one in self.elsewhere.values())

    @property
    def prompt_factor(self) -> float:
        """On what prompts add to a pass of the target: the base's."""
        return self.base.prompt_factor if isinstance(self.base, ScalesPrompts) else 1.0

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        return self.of(shape.role).predict_s(shape)

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass: see ``MixedLatencyModel``."""
        return as_mixed(self.of(decode.role)).predict_mixed_s(decode, chunk_tokens, chunk_kv)

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts."""
        return as_mixed(self.of(shape.role)).attention_s(shape)

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a role's pass."""
        return as_mixed(self.of(role)).pass_costs(role)

    def host_time(self, speculation: Speculation) -> HostTime:
        """Of the base, and the link where a model elsewhere runs."""
        host = host_time(self.base, speculation)
        runs = {Role.DRAFT: speculation.runs_draft_model, Role.COMPANION: speculation.runs_companion}
        is_linked = any(runs[role] for role in self.elsewhere)
        return replace(host, per_step_s=host.per_step_s + self.link_s) if is_linked else host

    def with_head(self, geometry: ModelGeometry) -> LatencyModel | None:
        """A head runs on the target's devices, wherever the draft model would."""
        return with_head(self.without(Role.DRAFT), geometry)

    def without(self, role: Role) -> LatencyModel:
        """The same, with that role beside the target."""
        others = {other: one for other, one in self.elsewhere.items() if other is not role}
        return replace(self, elsewhere=others) if others else self.base

    def of(self, role: Role) -> LatencyModel:
        """What prices a role's passes."""
        return self.elsewhere.get(role, self.base)


def parts_of(latency: LatencyModel) -> list[LatencyModel]:
    """The latency models of all devices, the target's first."""
    return [latency.base, *latency.elsewhere.values()] if isinstance(latency, PlacedLatency) else [latency]
