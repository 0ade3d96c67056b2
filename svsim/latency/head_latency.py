"""Any source of step times, with a drafting head's own passes in the place of the draft model's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError
from svsim.latency.data_parallel import DataParallelLatency
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import data_sheets
from svsim.latency.host import HostTime, Speculation, host_time
from svsim.latency.model import LatencyModel
from svsim.latency.pass_costs import PassCosts
from svsim.latency.pass_work import ModelOnGpus
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.wrapped import WrappedLatency, as_mixed


@runtime_checkable
class TakesHead(Protocol):
    """A latency model that puts a head in the place of its draft model by itself.

    One that wraps another and adds to its passes does so: with the wrapped one's head (``with_head``).
    """

    def with_head(self, geometry: ModelGeometry) -> LatencyModel | None:
        """The same model with that head as ``Role.DRAFT``; None where it cannot price one."""
        ...


@dataclass(frozen=True, slots=True)
class LatencyWithHead(WrappedLatency):
    """``base``, but draft passes are those of ``head``."""

    head: LatencyModel

    @property
    def roles(self) -> frozenset[Role]:
        """Those of the base, and the draft."""
        return self.base.roles | {Role.DRAFT}

    @property
    def draft_is_one_pass(self) -> bool:
        """Never: a head's passes are known."""
        return False

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, float64 of the broadcast shape."""
        return self._of(shape.role).predict_s(shape)

    def predict_mixed_s(
        self, decode: StepShape, chunk_tokens: ArrayLike, chunk_kv: ArrayLike
    ) -> NDArray[np.float64]:
        """Seconds of each mixed pass: see ``MixedLatencyModel``."""
        return as_mixed(self._of(decode.role)).predict_mixed_s(decode, chunk_tokens, chunk_kv)

    def attention_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass that depend on contexts."""
        return as_mixed(self._of(shape.role)).attention_s(shape)

    def pass_costs(self, role: Role) -> PassCosts:
        """The terms of a role's pass."""
        return as_mixed(self._of(role)).pass_costs(role)

    def host_time(self, speculation: Speculation) -> HostTime:
        """Of the base."""
        return host_time(self.base, speculation)

    def _of(self, role: Role) -> LatencyModel:
        return self.head if role is Role.DRAFT else self.base


def with_head(latency: LatencyModel, geometry: ModelGeometry) -> LatencyModel | None:
    """The latency model with a head in the place of the draft model; None where its GPU is not known.

    The head is split over the GPUs of the target, as engines do by default, and priced by the roofline
    of that GPU: no kernel table or measurement holds heads.
    """
    if isinstance(latency, TakesHead):
        return latency.with_head(geometry)
    base = latency.base if isinstance(latency, DataParallelLatency) else latency
    degree = latency.tensor_parallel
    if degree is None:
        return None
    try:
        models: Mapping[Role, ModelOnGpus] = MappingProxyType({Role.DRAFT: ModelOnGpus(geometry, degree)})
    except LatencyError:
        models = MappingProxyType({Role.DRAFT: ModelOnGpus(geometry, 1)})
    if isinstance(base, RooflineLatency):
        return LatencyWithHead(latency, replace(base, models=models))
    gpu = data_sheets().get(latency.hardware)
    return None if gpu is None else LatencyWithHead(latency, RooflineLatency(gpu, models))
