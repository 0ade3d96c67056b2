"""Groups of devices that hold the models of a method, and what they cost.

One group where all models run beside the target; more where some run on devices of their own.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from svsim.deployments import data_sheet_of
from svsim.errors import InputError, printable
from svsim.latency.hardware_spec import HardwareSpec, Placement
from svsim.latency.model import LatencyModel
from svsim.latency.placed import PlacedLatency
from svsim.latency.prices import HourlyPrice, hourly_prices
from svsim.latency.shape import Role

Key = TypeVar("Key", bound=Hashable)
_SPLIT = HardwareSpec("", draft=Placement.SHARDED, companion=Placement.SHARDED)


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Devices of one kind that hold the models of some roles.

    latency: what prices their passes. spec: how the models lie on them. num_gpus: None where nothing says it.
    """

    latency: LatencyModel
    roles: frozenset[Role]
    spec: HardwareSpec | None
    num_gpus: int | None


def device_groups(
    latency: LatencyModel, spec: HardwareSpec | None, roles: frozenset[Role], drafts_apart: bool = False
) -> tuple[DeviceGroup, ...]:
    """The devices that the models of these roles take, the target's first.

    drafts_apart: the draft model runs at the same time as the target. Where nothing says on what, these are
    devices of the target's kind: one, or as many as it is split over or copied to.
    """
    elsewhere = latency.elsewhere if isinstance(latency, PlacedLatency) else {}
    base = latency.base if isinstance(latency, PlacedLatency) else latency
    beside = roles - elsewhere.keys()
    groups = [
        DeviceGroup(one, frozenset({role}), _SPLIT, one.tensor_parallel)
        for role, one in elsewhere.items()
        if role in roles
    ]
    if drafts_apart and Role.DRAFT in beside:
        is_wide = spec is not None and spec.draft in (Placement.SHARDED, Placement.REPLICATED)
        num_gpus = base.tensor_parallel if is_wide or base.tensor_parallel is None else 1
        groups.append(DeviceGroup(base, frozenset({Role.DRAFT}), spec, num_gpus))
        beside -= {Role.DRAFT}
    return DeviceGroup(base, frozenset(beside), spec, base.tensor_parallel), *groups


@dataclass(frozen=True, slots=True)
class RunningCost:
    """All GPUs of a method's groups; None: not known."""

    usd_per_hour: float | None
    power_w: float | None

    @classmethod
    def of(cls, groups: Sequence[DeviceGroup], listed: Mapping[str, HourlyPrice]) -> "RunningCost":
        """From a price list and the data sheets' power, times the number of GPUs."""
        usd, power_w = 0.0, 0.0
        has_prices = has_power = True
        for group in groups:
            price, sheet = listed.get(group.latency.hardware), data_sheet_of(group.latency)
            if price is not None and group.num_gpus is not None:
                usd += price.usd_per_gpu_hour * group.num_gpus
            else:
                has_prices = False
            if sheet is not None and sheet.power_w is not None and group.num_gpus is not None:
                power_w += sheet.power_w * group.num_gpus
            else:
                has_power = False
        return cls(usd if has_prices else None, power_w if has_power else None)


NO_COST = RunningCost(None, None)


def running_costs(
    groups: Mapping[Key, Sequence[DeviceGroup]], prices: str | Path | None = None
) -> dict[Key, RunningCost]:
    """What each takes, by the user's or the shipped price list. InputError if the user's has none of them."""
    listed = hourly_prices(prices)
    if prices is not None:
        every = [group for several in groups.values() for group in several]
        if not any(group.num_gpus is not None and group.latency.hardware in listed for group in every):
            asked = ", ".join(dict.fromkeys(printable(group.latency.hardware, 40) for group in every))
            raise InputError(
                f"`prices` {printable(prices, 80)} has no effect: it has no price of {asked} "
                f"(a linear file has no GPUs), but of {printable(', '.join(listed), 200) or 'nothing'}; "
                "add it, or leave it out"
            )
    return {key: RunningCost.of(several, listed) for key, several in groups.items()}
