"""Options of open-loop serving, and what a question of it is understood as."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from svsim.decoding.method import DecodingMethod
from svsim.deployments import data_sheet_of
from svsim.device_groups import RunningCost
from svsim.engines.binding import Deployment
from svsim.errors import InputError
from svsim.options import RunOptions, word
from svsim.serving.demand import Demand
from svsim.serving.memory import calibrated_limits, default_limits
from svsim.serving.settings import SchedulerName, SchedulerSettings
from svsim.serving.simulation import Fleet, Horizon
from svsim.serving.slo import Slo
from svsim.trace.token_trace import TraceMetadata


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options of ``serve_sim``, which says what each is. ``run``: those that it shares with ``replay``."""

    run: RunOptions
    arrivals: str | None = None
    workload: str | Path | None = None
    format: str | None = None
    time_scale: float = 1.0
    lengths: str | None = None
    duration: float | None = None
    warm_up: float | str = "auto"
    replications: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_blocks: int | None = None
    block_size: int = 16
    watermark: float = 0.0
    long_prefill_token_threshold: int = 0
    reserve_full_isl: bool = True
    policy: str = "fcfs"
    scheduling: str = "sync"
    scheduler: str = "vllm"
    replicas: int = 1
    router: str = "round-robin"
    slo: Sequence[str] | str = ()
    failure: Sequence[str] | str = ()

    @property
    def warm_up_s(self) -> float | None:
        """None: by rule."""
        if self.warm_up == "auto":
            return None
        try:
            return float(self.warm_up)
        except ValueError:
            raise InputError(f"`warm_up` {self.warm_up} is neither auto nor seconds") from None

    def scheduler_settings(self, deployment: Deployment) -> SchedulerSettings:
        """On this hardware: what is not said is as in vLLM's server, as far as prices reach."""
        num_seqs, tokens = default_limits(data_sheet_of(deployment.latency))
        most_seqs, most_tokens = calibrated_limits(deployment.latency)
        num_seqs, tokens = min(num_seqs, most_seqs), min(tokens, most_tokens)
        policies, schedulings = ("fcfs", "priority"), ("sync", "async")
        return SchedulerSettings(
            scheduler=word("scheduler", self.scheduler, get_args(SchedulerName)),
            max_num_seqs=num_seqs if self.max_num_seqs is None else self.max_num_seqs,
            max_num_batched_tokens=(
                tokens if self.max_num_batched_tokens is None else self.max_num_batched_tokens
            ),
            block_size=self.block_size,
            watermark=self.watermark,
            long_prefill_token_threshold=self.long_prefill_token_threshold,
            reserve_full_isl=self.reserve_full_isl,
            policy=word("policy", self.policy, policies),  # type: ignore[arg-type]
            scheduling=word("scheduling", self.scheduling, schedulings),  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one deployment: its fleet, and what its row says beside numbers."""

    method: DecodingMethod
    deployment: Deployment
    fleet: Fleet
    settings: SchedulerSettings
    cost: RunningCost
    num_blocks: int | None
    is_asked: bool

    @property
    def overlaps(self) -> bool:
        """Whether the method would draft beside verification, which is not simulated."""
        return self.method.pipeline.num_micro_batches(2) > 1


@dataclass(frozen=True, slots=True)
class ServeRun:
    """A question understood."""

    cells: tuple[Cell, ...]
    demand: Demand
    horizon: Horizon
    slos: tuple[Slo, ...]
    num_replications: int
    about: Mapping[str, Any] | None
    metadata: TraceMetadata
    config: Mapping[str, Any]
    notes: tuple[str, ...]
