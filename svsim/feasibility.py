"""Which rows of a run fit into GPU memory, where the models and the GPU are known."""

from collections.abc import Mapping
from dataclasses import dataclass

from svsim.decoding.method import DecodingMethod
from svsim.deployments import known_geometries
from svsim.engines.settings import PreparedRun
from svsim.errors import InfeasibleError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.hardware import data_sheets
from svsim.latency.memory import KvDemand, MemoryPlan
from svsim.latency.model import LatencyModel
from svsim.latency.pass_work import models_on_gpus
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role
from svsim.records import RunRecord


@dataclass(frozen=True, slots=True)
class MemoryFit:
    """The memory plan of every (hardware, tp, method label); None where it cannot be known."""

    plans: Mapping[tuple[str, int | None, str], MemoryPlan | None]
    demand: KvDemand

    @classmethod
    def of(cls, prepared: PreparedRun) -> "MemoryFit":
        """Plans of a run. Raises InfeasibleError, naming the largest batch, if no row at all fits."""
        known = known_geometries(prepared.part.metadata)
        plans = {
            (d.latency.hardware, d.latency.tensor_parallel, m.label): _plan(known, d.latency, m)
            for d in prepared.deployments
            for m in prepared.methods
        }
        part, settings = prepared.part, prepared.settings
        in_step = settings.batch_of == "copies" or settings.refill == "static"
        longest = float(part.context_range[1])
        fit = cls(plans, KvDemand(part.context_mean, part.context_deviation, longest, not in_step))
        fit._check(settings.batch_sizes)
        return fit

    def of_record(self, record: RunRecord) -> bool | None:
        """Whether a record's batch fits; None: not known."""
        plan = self.plans[record.hardware, record.tensor_parallel, record.label]
        return None if plan is None else plan.fits(record.batch_size, self.demand)

    def notes(self, batch_sizes: tuple[int, ...]) -> tuple[str, ...]:
        """One sentence per method and hardware with a batch size that does not fit."""
        sentences = []
        for (hardware, degree, label), plan in self.plans.items():
            if plan is not None and not plan.fits(max(batch_sizes), self.demand):
                largest = plan.largest_batch(self.demand)
                what = f"batches above {largest} do not fit" if largest else "no batch fits"
                sentences.append(f"{hardware}:tp={degree}, {label}: {what} in memory")
        return tuple(sentences)

    def _check(self, batch_sizes: tuple[int, ...]) -> None:
        smallest = min(batch_sizes)
        plans = [p for p in self.plans.values() if p is not None]
        if len(plans) == len(self.plans) and not any(p.fits(smallest, self.demand) for p in plans):
            roomiest = max(plans, key=lambda p: (p.largest_batch(self.demand), p.room_bytes))
            raise InfeasibleError(roomiest.why_not(smallest, self.demand))


def _plan(
    known: Mapping[Role, ModelGeometry], latency: LatencyModel, method: DecodingMethod
) -> MemoryPlan | None:
    roles = {Role.TARGET}
    if method.num_speculative_tokens:
        roles.add(Role.DRAFT)
    if method.uses_companion:
        roles.add(Role.COMPANION)
    sheet = latency.gpu if isinstance(latency, RooflineLatency) else data_sheets().get(latency.hardware)
    if sheet is None or latency.tensor_parallel is None or roles - known.keys():
        return None
    shapes = {role: known[role] for role in roles}
    models = models_on_gpus(
        shapes[Role.TARGET], shapes.get(Role.DRAFT), shapes.get(Role.COMPANION), latency.tensor_parallel
    )
    return MemoryPlan(sheet, models, method.num_speculative_tokens)
