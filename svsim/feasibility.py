"""Which rows of a run fit into GPU memory, where the models and the GPU are known."""

from collections.abc import Mapping
from dataclasses import dataclass

from svsim.decoding.method import DecodingMethod
from svsim.decoding.pipelines import Pipeline
from svsim.deployments import data_sheet_of, known_geometries, models_in_memory
from svsim.device_groups import DeviceGroup, device_groups
from svsim.engines.binding import Deployment
from svsim.engines.parallel import reach, with_gamma
from svsim.engines.settings import PreparedRun
from svsim.errors import InfeasibleError, InputError
from svsim.latency.geometry import ModelGeometry
from svsim.latency.memory import GPU_MEMORY_UTILIZATION, KvDemand, MemoryPlan
from svsim.latency.shape import Role
from svsim.records import RunRecord


@dataclass(frozen=True, slots=True)
class _BatchesInMemory:
    """Batch sizes of one method that the plans of its groups of devices hold.

    is_whole: whether every group is modelled. Two micro-batches may be in flight.
    """

    plans: tuple[MemoryPlan, ...]
    is_whole: bool
    pipeline: Pipeline
    demand: KvDemand

    def fits(self, batch_size: int) -> bool | None:
        """None: not known."""
        num_sequences = self.pipeline.num_sequences(batch_size)
        if not all(plan.fits(num_sequences, self.demand) for plan in self.plans):
            return False
        return True if self.is_whole else None

    @property
    def tightest(self) -> MemoryPlan:
        """The plan of the group that holds the fewest sequences."""
        return min(self.plans, key=lambda plan: plan.largest_batch(self.demand))

    @property
    def largest(self) -> int:
        """The largest batch size that is known to fit no worse than this."""
        num_sequences = self.tightest.largest_batch(self.demand)
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
        fit = cls(
            {
                (d.name, m.label): _batches(memory_plans(known, d, sized, gpu_memory_utilization), m, demand)
                for d in prepared.deployments
                for m in prepared.methods
                for sized in [with_gamma(m, d, settings.batch_sizes, part.context_mean)]
            },
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
            if batches is not None and batches.fits(max(batch_sizes)) is False:
                what = f"batches above {batches.largest} do not fit" if batches.largest else "no batch fits"
                sentences.append(f"{deployment}, {label}: {what} in memory")
        return tuple(sentences)

    def _check(self, batch_sizes: tuple[int, ...]) -> None:
        smallest = min(batch_sizes)
        known = [b for b in self.batches.values() if b is not None]
        if len(known) == len(self.batches) and all(b.fits(smallest) is False for b in known):
            roomiest = max(known, key=lambda b: (b.largest, b.tightest.room_bytes))
            raise InfeasibleError(roomiest.tightest.why_not(smallest, self.demand))


def groups_of(deployment: Deployment, method: DecodingMethod) -> tuple[DeviceGroup, ...]:
    """The devices that a method's models take."""
    priced = deployment.priced(method)
    return device_groups(priced.latency, deployment.spec, priced.work.roles, priced.work.is_parallel)


def memory_plans(
    known: Mapping[Role, ModelGeometry], deployment: Deployment, method: DecodingMethod, utilization: float
) -> tuple[MemoryPlan | None, ...]:
    """Memory of every group of devices of a method; None where shapes or the GPU are not known.

    A parallel pipeline keeps up to 2 gamma - 1 tokens per sequence that are not verified yet.
    """
    work = deployment.priced(method).work
    shapes = dict(known)
    if work.draft.geometry is not None:
        shapes[Role.DRAFT] = work.draft.geometry
    groups = groups_of(deployment, method)
    return tuple(_plan(shapes, g, reach(method) - 1, utilization) for g in groups)


def _plan(
    shapes: Mapping[Role, ModelGeometry], group: DeviceGroup, num_drafted: int, utilization: float
) -> MemoryPlan | None:
    sheet, here = data_sheet_of(group.latency), {role: shapes[role] for role in group.roles & shapes.keys()}
    if sheet is None or group.num_gpus is None or group.roles - shapes.keys():
        return None
    models = models_in_memory(here, group.num_gpus, group.spec)
    return MemoryPlan(sheet, models, num_drafted, utilization)


def _batches(
    plans: tuple[MemoryPlan | None, ...], method: DecodingMethod, demand: KvDemand
) -> _BatchesInMemory | None:
    known = tuple(plan for plan in plans if plan is not None)
    if not known:
        return None
    return _BatchesInMemory(known, len(known) == len(plans), method.pipeline, demand)
