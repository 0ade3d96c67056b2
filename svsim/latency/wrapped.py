"""What latency models share that wrap another: all that is not said otherwise is the wrapped one's."""

from dataclasses import dataclass

from svsim.errors import LatencyError
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.model import LatencyModel, OutOfRange
from svsim.latency.shape import Role


@dataclass(frozen=True, slots=True)
class WrappedLatency:
    """``base``, seen through what a subclass changes."""

    base: LatencyModel

    @property
    def hardware(self) -> str:
        """Of the base."""
        return self.base.hardware

    @property
    def tensor_parallel(self) -> int | None:
        """GPUs that share the target."""
        return self.base.tensor_parallel

    @property
    def source(self) -> str:
        """Of the base."""
        return self.base.source

    @property
    def roles(self) -> frozenset[Role]:
        """Of the base."""
        return self.base.roles

    @property
    def out_of_range(self) -> OutOfRange:
        """Of the base."""
        return self.base.out_of_range

    @property
    def overhead_per_step_s(self) -> float:
        """Of the base."""
        return self.base.overhead_per_step_s

    @property
    def draft_is_one_pass(self) -> bool:
        """Of the base."""
        return self.base.draft_is_one_pass

    @property
    def separates_head(self) -> bool:
        """As the base."""
        return self.base.separates_head


def as_mixed(model: LatencyModel) -> MixedLatencyModel:
    """The model, if it prices decoding and prompts in one pass; else LatencyError."""
    if not isinstance(model, MixedLatencyModel):
        raise LatencyError(
            f"step times of {model.hardware} ({model.source}) cannot price decoding and prompts together"
        )
    return model
