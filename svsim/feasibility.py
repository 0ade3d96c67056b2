"""Which rows of a run fit into GPU memory, where the models and the GPU are known."""

from collections.abc import Mapping
from dataclasses import dataclass

from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import Pipeline
from svsim.deployments import data_sheet_of, known_geometries, models_in_memory
from svsim.engines.binding import Deployment
from svsim.engines.settings import PreparedRun
from svsim.errors import InfeasibleError, InputError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.memory import GPU_MEMORY_UTILIZATION, KvDemand, MemoryPlan
from svsim.latency.shape import Role
from svsim.records import RunRecord


@dataclass(frozen=True, slots=True)
class _BatchesInMemory:
    """Batch sizes of one method that a plan holds: two micro-batches may be in flight."""

    plan: MemoryPlan
    pipeline: Pipeline
    demand: KvDemand

    def fits(self, batch_size: int) -> bool:
        return self.plan.fits(self.pipeline.num_sequences(batch_size), self.demand)

    @property
    def largest(self) -> int:
        num_sequences = self.plan.largest_batch(self.demand)
        return num_sequences // 2 if self.pipeline.overlap == "full" else num_sequences


@dataclass(frozen=True, slots=True)
class MemoryFit:
    """What every (deployment, method label) can hold; None where it cannot be known."""

    batches: Mapping[tuple[str, str], _BatchesInMemory | None]
    demand: KvDemand

    @classmethod
    def of(cls, prepared: PreparedRun, gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION) -> "MemoryFit":
        """Plans of a run; the server uses that share of each GPU.

        Raises InfeasibleError, naming the largest batch, if no row at all fits.
        """
        if not 0.0 < gpu_memory_utilization <= 1.0:
            raise InputError(
                f"`gpu_memory_utilization` {gpu_memory_utilization:g} is out of range; "
                "expected a share, 0 < share <= 1"
            )
        known = known_geometries(prepared.part.metadata)
        part, settings = prepared.part, prepared.settings
        in_step = settings.batch_of == "copies" or settings.refill == "static"
        longest = float(part.context_range[1])
        demand = KvDemand(part.context_mean, part.context_deviation, longest, not in_step)
        plans = {
            (d.name, m.label): (memory_plan(known, d, m, gpu_memory_utilization), m.pipeline)
            for d in prepared.deployments
            for m in prepared.methods
        }
        fit = cls(
            {k: None if p is None else _BatchesInMemory(p, line, demand) for k, (p, line) in plans.items()},
            demand,
        )
        fit._check(settings.batch_sizes)
        return fit

    @property
    def is_known(self) -> bool:
        """Whether memory is modelled for any row."""
        return any(batches is not None for batches in self.batches.values())

    def of_record(self, record: RunRecord) -> bool | None:
        """Whether a record's batch fits; None: not known."""
        batches = self.batches[record.deployment, record.label]
        return None if batches is None else batches.fits(record.batch_size)

    def notes(self, batch_sizes: tuple[int, ...]) -> tuple[str, ...]:
        """One sentence per method and hardware with a batch size that does not fit."""
        sentences = []
        for (deployment, label), batches in self.batches.items():
            if batches is not None and not batches.fits(max(batch_sizes)):
                what = f"batches above {batches.largest} do not fit" if batches.largest else "no batch fits"
                sentences.append(f"{deployment}, {label}: {what} in memory")
        return tuple(sentences)

    def _check(self, batch_sizes: tuple[int, ...]) -> None:
        smallest = min(batch_sizes)
        known = [b for b in self.batches.values() if b is not None]
        if len(known) == len(self.batches) and not any(b.fits(smallest) for b in known):
            roomiest = max(known, key=lambda b: (b.largest, b.plan.room_bytes))
            raise InfeasibleError(roomiest.plan.why_not(smallest, self.demand))


def memory_plan(
    known: Mapping[Role, ModelGeometry], deployment: Deployment, method: DecodingMethod, utilization: float
) -> MemoryPlan | None:
    """Memory of a method's models on a deployment; None where shapes or the GPU are not known."""
    work = deployment.priced(method).work
    shapes = {role: shape for role, shape in known.items() if role in work.roles}
    if work.draft.geometry is not None:
        shapes[Role.DRAFT] = work.draft.geometry
    degree, sheet = deployment.latency.tensor_parallel, data_sheet_of(deployment.latency)
    if sheet is None or degree is None or work.roles - shapes.keys():
        return None
    models = models_in_memory(shapes, degree, deployment.spec)
    return MemoryPlan(sheet, models, method.num_speculative_tokens, utilization)
