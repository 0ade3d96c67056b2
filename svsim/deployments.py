"""From ``--latency`` and ``--hardware`` to latency models."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError, printable, require
from svsim.latency.data_parallel import DataParallelLatency
from svsim.latency.elsewhere import TOGETHER, Elsewhere
from svsim.latency.engines.catalogue import DEFAULT_ENGINE, NO_ENGINE, engine_profile
from svsim.latency.engines.latency import EngineLatency
from svsim.latency.engines.profile import EngineProfile
from svsim.latency.geometry import ModelGeometry, told_geometry
from svsim.latency.hardware import GpuDataSheet, canonical_name, data_sheets
from svsim.latency.hardware_spec import HardwareSpec, Placement
from svsim.latency.linear import LinearLatency
from svsim.latency.measured import MeasuredLatency, read_step_times
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.latency.pass_work import ModelOnGpus
from svsim.latency.placed import PlacedLatency, parts_of
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role
from svsim.latency.valid_range import checked_choice
from svsim.latency.wrapped import WrappedLatency
from svsim.reading import json_object
from svsim.trace.parts import Source
from svsim.trace.token_trace import TraceMetadata

# Sources that are computed from shapes; all others were measured, or are what a user says.
MODELLED = ("database", "roofline")


@dataclass(frozen=True, slots=True)
class PricedHardware:
    """A latency model and the ``--hardware`` it answers for; None: it was not asked for by name."""

    latency: LatencyModel
    spec: HardwareSpec | None = None


@dataclass(frozen=True, slots=True)
class PricesAsked:
    """Where seconds come from, in the caller's words: ``latency``, ``engine``, ``hardware``, and what runs
    ``elsewhere``."""

    latency: str | LatencyModel = "trace"
    engine: str | None = None
    hardware: tuple[str, ...] = ()
    elsewhere: Elsewhere = TOGETHER

    @property
    def is_default(self) -> bool:
        """The trace's own step times, first hardware."""
        return self.latency == "trace" and not self.hardware

    def priced(self, source: Source, out_of_range: OutOfRange | None = None) -> list[PricedHardware]:
        """One latency model per hardware asked for, or the given one; each as the engine runs it."""
        beside = self._beside(source, out_of_range)
        elsewhere: dict[Role, LatencyModel] = {}
        for role, text in self.elsewhere.hardware.items():
            own = _elsewhere(source, role, text, self.latency, out_of_range)
            elsewhere[role] = on_engine(source, [own], self._engine)[0].latency
        if not elsewhere:
            return beside
        link_s = self.elsewhere.link_s
        return [replace(one, latency=PlacedLatency(one.latency, elsewhere, link_s)) for one in beside]

    @property
    def _engine(self) -> str:
        """Not said: modelled passes run on the default engine, measured ones as they were measured."""
        return self.engine or (DEFAULT_ENGINE if self.latency in MODELLED else NO_ENGINE)

    def _beside(self, source: Source, out_of_range: OutOfRange | None) -> list[PricedHardware]:
        if isinstance(self.latency, str):
            return priced_hardware(source, self.latency, self.hardware, out_of_range, self.engine)
        for name, given in (("hardware", self.hardware), ("out_of_range", out_of_range)):
            require(not given, f"`{name}` has no effect with a latency model, which says it; leave it out")
        return on_engine(source, [PricedHardware(self.latency)], self.engine or NO_ENGINE)


def priced_hardware(
    source: Source,
    latency: str,
    hardware: Sequence[str],
    out_of_range: OutOfRange | None = None,
    engine: str | None = None,
) -> list[PricedHardware]:
    """One latency model per distinct hardware asked for, as the engine runs it.

    engine: a profile's name; ``none``: bare passes and the source's own overhead. Not said: modelled passes
    run on the default engine, measured ones as they were measured.
    """
    priced = _bare(source, latency, hardware, out_of_range)
    return on_engine(source, priced, engine or (DEFAULT_ENGINE if latency in MODELLED else NO_ENGINE))


def on_engine(source: Source, priced: Sequence[PricedHardware], engine: str) -> list[PricedHardware]:
    """The same hardware under an engine's profile; unchanged for ``none``."""
    profile = engine_profile(engine)
    if profile is None:
        return list(priced)
    target = known_geometries(source.metadata).get(Role.TARGET)
    return [replace(one, latency=_with_profile(one, profile, target)) for one in priced]


def _with_profile(
    priced: PricedHardware, profile: EngineProfile, target: ModelGeometry | None
) -> LatencyModel:
    """The latency model under a profile, with what the profile asks of the target and the GPU."""
    spec, sheet = priced.spec or HardwareSpec(""), data_sheet_of(priced.latency)
    model = target and spec.quantized(Role.TARGET, target)
    without_units = bool(model and model.kv_dtype == "fp8" and sheet and sheet.fp8_flop_per_s is None)
    base = _bare_passes(priced.latency)
    is_checked = not isinstance(base, RooflineLatency) or base.gpu.checked is not None
    return EngineLatency(priced.latency, profile, model, without_units, is_checked)


def _bare(
    source: Source, latency: str, hardware: Sequence[str], out_of_range: OutOfRange | None
) -> list[PricedHardware]:
    """One latency model per distinct hardware asked for; without any, the first of the source.

    ``latency``: ``trace`` (the trace's own step times), ``database``, ``roofline``, or a file: linear
    (``.json``) or a step-time table (``.parquet``).
    """
    specs = list(dict.fromkeys(HardwareSpec.parse(text) for text in hardware))
    given, out_of_range = out_of_range, checked_choice("raise" if out_of_range is None else out_of_range)
    if latency in MODELLED:
        if not specs:
            raise LatencyError(f"`latency={latency}` needs `hardware`, NAME:tp=N as h200_sxm:tp=4")
        if latency == "roofline":
            _refuse_range(given, "a roofline")
        geometries = _geometries(source, latency)
        return [_replicated(_modelled(latency, spec, geometries, out_of_range), spec) for spec in specs]
    if latency == "trace":
        if source.step_times is None:
            raise LatencyError(
                "this trace holds no step times; give `latency=FILE` (linear JSON or step-time table), "
                "or `latency=roofline` and `hardware=NAME:tp=N`"
            )
        return _measured(source.step_times, "step times", specs, out_of_range)
    path = Path(latency)
    if path.suffix == ".parquet":
        return _measured(read_step_times(path), latency, specs, out_of_range)
    if specs:
        raise LatencyError(f"{path}: a linear latency file is one hardware by itself; leave `hardware` out")
    _refuse_range(given, "a linear latency file")
    return [PricedHardware(LinearLatency.from_file(path))]


def _refuse_range(given: OutOfRange | None, what: str) -> None:
    if given not in (None, "extrapolate"):
        raise LatencyError(
            f"`out_of_range={given}` has no effect: {what} has no calibrated range and always extrapolates; "
            "leave `out_of_range` out"
        )


def _measured(
    columns: Mapping[str, Any], where: str, specs: Sequence[HardwareSpec], out_of_range: OutOfRange
) -> list[PricedHardware]:
    """Fits of a table's rows; a table is of the weights it was measured with."""
    found = []
    for spec in specs:
        if spec.quant or spec.kv:
            raise LatencyError(
                f"{spec}: step times of a table are of the weights and KV cache they were measured with; "
                "leave quant and kv out, or take `latency` database or roofline"
            )
        degree, placements = spec.tensor_parallel, spec.placements
        model = MeasuredLatency.from_step_times(
            columns, spec.name, degree, placements=placements, out_of_range=out_of_range, where=where
        )
        found.append(_replicated(model, spec))
    return found or [
        PricedHardware(MeasuredLatency.from_step_times(columns, out_of_range=out_of_range, where=where))
    ]


def _modelled(
    latency: str, spec: HardwareSpec, geometries: Mapping[Role, ModelGeometry], out_of_range: OutOfRange
) -> LatencyModel:
    shapes = {role: spec.quantized(role, geometry) for role, geometry in geometries.items()}
    models = (shapes[Role.TARGET], shapes.get(Role.DRAFT), shapes.get(Role.COMPANION))
    degree, sharded = spec.tensor_parallel or 1, spec.roles(Placement.SHARDED)
    name = canonical_name(spec.name)
    if latency == "roofline":
        return RooflineLatency.of(name, degree, *models, sharded=sharded)
    from svsim.latency.database import database_latency

    return database_latency(name, degree, *models, sharded=sharded, out_of_range=out_of_range)


def _elsewhere(
    source: Source, role: Role, text: str, latency: str | LatencyModel, out_of_range: OutOfRange | None
) -> PricedHardware:
    """What prices a small model on devices of its own, split over all of them.

    A linear file by itself; a name from the source of the target's seconds: kernels, roofline, or the rows of
    a table. Beside a linear file or a latency model, which are one hardware, by a roofline.
    """
    name = f"{role}_hardware"
    if Path(text).suffix == ".json" and "kind" in json_object(text, "a latency file", LatencyError):
        linear = LinearLatency.from_file(text)
        if role not in linear.roles:
            raise LatencyError(f"`{name}={printable(text, 80)}` has no step times of the {role}; add them")
        return PricedHardware(linear)
    spec = HardwareSpec.parse(text)
    if spec.options:
        raise LatencyError(
            f"`{name}={printable(text, 80)}`: a model on devices of its own is split over all of them; give "
            "NAME:tp=N alone"
        )
    placement = Placement.ONE if spec.tensor_parallel in (None, 1) else Placement.SHARDED
    spec = replace(spec, tensor_parallel=spec.tensor_parallel or 1)
    columns, where = None, "step times"
    if latency == "trace":
        columns = source.step_times
    elif isinstance(latency, str) and Path(latency).suffix == ".parquet":
        columns, where = read_step_times(latency), latency
    if columns is not None:
        degree = spec.tensor_parallel if placement is Placement.SHARDED else None
        choice = checked_choice("raise" if out_of_range is None else out_of_range)
        table = MeasuredLatency.from_step_times(
            columns, spec.name, degree, placements={role: placement}, out_of_range=choice, where=where
        )
        return PricedHardware(replace(table, tensor_parallel=spec.tensor_parallel or 1), spec)
    geometry = known_geometries(source.metadata).get(role)
    if geometry is None:
        raise LatencyError(f"`{name}` needs the {role}'s shape, which the trace does not tell; give `{role}`")
    shapes = {Role.TARGET: geometry, role: geometry}  # a model alone: its passes as what it is
    alone = replace(spec, draft=Placement.SHARDED, companion=Placement.SHARDED)
    choice = "raise" if out_of_range is None else out_of_range
    return PricedHardware(
        _modelled("database" if latency == "database" else "roofline", alone, shapes, choice), spec
    )


def _replicated(latency: LatencyModel, spec: HardwareSpec) -> PricedHardware:
    """The model itself, or wrapped where small models are replicated."""
    copies = dict.fromkeys(spec.roles(Placement.REPLICATED), latency.tensor_parallel or 1)
    return PricedHardware(DataParallelLatency(latency, copies) if copies else latency, spec)


def data_sheet_of(latency: LatencyModel) -> GpuDataSheet | None:
    """The GPU of a latency model, where it is known."""
    base = _bare_passes(latency)
    return base.gpu if isinstance(base, RooflineLatency) else data_sheets().get(latency.hardware)


def _bare_passes(latency: LatencyModel) -> LatencyModel:
    """The source of the target's seconds itself, without an engine, copies, heads and other devices."""
    while isinstance(latency, WrappedLatency):
        latency = latency.base
    return latency


def unchecked_notes(models: Iterable[LatencyModel]) -> tuple[str, ...]:
    """One note per GPU that a roofline priced and no measured pass was ever compared with."""
    found: dict[str, None] = {}
    for latency in (part for model in models for part in parts_of(model)):
        base = _bare_passes(latency)
        if isinstance(base, RooflineLatency) and base.gpu.checked is None:
            found[base.gpu.name] = None
    return tuple(
        f"{name}: priced by a roofline from its data sheet that no pass measured on this GPU was compared "
        "with; `svsim calibrate` measures yours"
        for name in found
    )


def models_in_memory(
    shapes: Mapping[Role, ModelGeometry], tensor_parallel: int, spec: HardwareSpec | None
) -> dict[Role, ModelOnGpus]:
    """What lies on GPUs: precision, shards and copies as their ``--hardware`` says."""
    spec = spec or HardwareSpec("")
    split = {Role.TARGET, *spec.roles(Placement.SHARDED)}
    copied = spec.roles(Placement.REPLICATED)
    return {
        role: ModelOnGpus(
            spec.quantized(role, shapes[role]),
            tensor_parallel if role in split else 1,
            tensor_parallel if role in copied else 1,
        )
        for role in Role
        if role in shapes
    }


def known_geometries(metadata: TraceMetadata) -> dict[Role, ModelGeometry]:
    """Model shapes that the trace's metadata tell, by role; models of unknown shape are left out."""
    found: dict[Role, ModelGeometry] = {}
    for role in Role:
        with suppress(LatencyError):
            found |= _geometry(metadata, role)
    return found


def _geometry(metadata: TraceMetadata, role: Role) -> dict[Role, ModelGeometry]:
    geometry = told_geometry(metadata.models.get(role.value), role)
    return {} if geometry is None else {role: geometry}


def _geometries(source: Source, latency: str) -> dict[Role, ModelGeometry]:
    """Model shapes named in the trace's metadata, by role."""
    found: dict[Role, ModelGeometry] = {}
    for role in Role:
        found |= _geometry(source.metadata, role)
    if Role.TARGET not in found:
        raise LatencyError(
            f"`latency={latency}` needs model shapes, but this trace does not name its target model; "
            "give `target`, a preset of svsim models or a config.json"
        )
    return found
