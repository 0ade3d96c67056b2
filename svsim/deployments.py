"""From ``--latency`` and ``--hardware`` to latency models."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svsim.errors import LatencyError
from svsim.latency.geometry import ModelGeometry, model_geometry
from svsim.latency.hardware import HardwareSpec, data_sheets
from svsim.latency.linear import LinearLatency
from svsim.latency.measured import MeasuredLatency
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.latency.prices import hourly_prices
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role
from svsim.workload.parts import Source
from svsim.workload.token_trace import TraceMetadata


def latency_models(
    source: Source, latency: str, hardware: Sequence[str], out_of_range: OutOfRange = "raise"
) -> list[LatencyModel]:
    """One latency model per hardware asked for; without any, the first of the source.

    ``latency``: ``trace`` (the trace's own step times), ``database``, ``roofline``, or a file: linear
    (``.json``) or a step-time table (``.parquet``).
    """
    specs = [HardwareSpec.parse(text) for text in hardware]
    if latency == "trace":
        return _from_trace(source, specs, out_of_range)
    if latency in ("database", "roofline"):
        if not specs:
            raise LatencyError(f"--latency {latency} needs --hardware NAME:tp=N, as --hardware h200_sxm:tp=4")
        geometries = _geometries(source, latency)
        return [_modelled(latency, spec, geometries, out_of_range) for spec in specs]
    return _from_file(Path(latency), specs, out_of_range)


def _from_trace(source: Source, specs: list[HardwareSpec], out_of_range: OutOfRange) -> list[LatencyModel]:
    if source.step_times is None:
        raise LatencyError(
            "this trace holds no step times; give --latency FILE (linear JSON or step-time table), "
            "or --latency roofline --hardware NAME:tp=N"
        )
    times = source.step_times
    return [
        MeasuredLatency.from_step_times(times, s.name, s.tensor_parallel, out_of_range=out_of_range)
        for s in specs
    ] or [MeasuredLatency.from_step_times(times, out_of_range=out_of_range)]


def _from_file(path: Path, specs: list[HardwareSpec], out_of_range: OutOfRange) -> list[LatencyModel]:
    if path.suffix == ".parquet":
        return [
            MeasuredLatency.from_file(path, s.name, s.tensor_parallel, out_of_range=out_of_range)
            for s in specs
        ] or [MeasuredLatency.from_file(path, out_of_range=out_of_range)]
    if specs:
        raise LatencyError(f"{path}: a linear latency file is one hardware by itself; leave --hardware out")
    return [LinearLatency.from_file(path)]


def _modelled(
    latency: str, spec: HardwareSpec, geometries: Mapping[Role, ModelGeometry], out_of_range: OutOfRange
) -> LatencyModel:
    models = (geometries[Role.TARGET], geometries.get(Role.DRAFT), geometries.get(Role.COMPANION))
    degree = spec.tensor_parallel or 1
    if latency == "roofline":
        return RooflineLatency.of(spec.name, degree, *models)
    from svsim.latency.database import database_latency

    return database_latency(spec.name, degree, *models, out_of_range=out_of_range)


@dataclass(frozen=True, slots=True)
class RunningCost:
    """All GPUs of a deployment; None: not known."""

    usd_per_hour: float | None
    power_w: float | None

    @classmethod
    def of(cls, latency: LatencyModel, prices: str | Path | None = None) -> "RunningCost":
        """From the (user's) price list and the data sheet's power, times the number of GPUs."""
        degree = latency.tensor_parallel
        if degree is None:
            return cls(None, None)
        price = hourly_prices(prices).get(latency.hardware)
        sheet = latency.gpu if isinstance(latency, RooflineLatency) else data_sheets().get(latency.hardware)
        power_w = None if sheet is None or sheet.power_w is None else sheet.power_w * degree
        return cls(None if price is None else price.usd_per_gpu_hour * degree, power_w)


def known_geometries(metadata: TraceMetadata) -> dict[Role, ModelGeometry]:
    """Model shapes that the trace's metadata tell, by role; models of unknown shape are left out."""
    found: dict[Role, ModelGeometry] = {}
    for role in Role:
        with suppress(LatencyError):
            found |= _geometry(metadata, role)
    return found


def _geometry(metadata: TraceMetadata, role: Role) -> dict[Role, ModelGeometry]:
    model: Any = metadata.models.get(role.value)
    if not isinstance(model, Mapping):
        return {}
    name = str(model.get("name", role.value))
    geometry = model.get("geometry")
    return {role: ModelGeometry.from_config(geometry, name) if geometry else model_geometry(name)}


def _geometries(source: Source, latency: str) -> dict[Role, ModelGeometry]:
    """Model shapes named in the trace's metadata, by role."""
    found: dict[Role, ModelGeometry] = {}
    for role in Role:
        found |= _geometry(source.metadata, role)
    if Role.TARGET not in found:
        raise LatencyError(
            f"--latency {latency} needs model shapes, but this trace does not name its target model"
        )
    return found
