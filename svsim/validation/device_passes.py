"""Single forward passes of a random-weight model, laid out once and run as often as asked.

On a GPU the layers run as a CUDA graph, one for every (sequences, padded tokens, longest query, context),
as engines do: which sequence computes how many tokens is copied into the graph's own index tensors before
it is replayed. Logits and sampling of the rows that are wanted follow as plain kernels; the draft's, whose
rows never vary, are in the graph. On a CPU everything runs as it stands.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svsim.calibration.decoder import RandomDecoder
from svsim.calibration.device_timer import DeviceTimer
from svsim.calibration.pass_layout import PassLayout
from svsim.calibration.sampling_work import SamplingBuffers, sampling_work
from svsim.latency.shape import Role

Sampler = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class LaidOutPass:
    """A pass ready to run: where its tokens go and which rows of its result are sampled."""

    layout: PassLayout
    indices: Any
    rows: Tensor


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured pass with the tensors it reads and leaves behind."""

    graph: Any
    indices: Any
    left: dict[str, Tensor]


class PassRunner:
    """Runs the passes of one role's model."""

    def __init__(self, role: Role, decoder: RandomDecoder, timer: DeviceTimer) -> None:
        self.role, self.decoder, self.timer = role, decoder, timer
        self._pool: Any = None
        self._buffers: SamplingBuffers | None = None
        self._samplers: dict[tuple[int, int], Sampler] = {}
        self._graphs: dict[tuple[int, int, int, int], _Graph] = {}

    @property
    def num_graphs(self) -> int:
        """Captured graphs; 0 on a CPU."""
        return len(self._graphs)

    def reserve(self, num_rows: int, pool: Any = None) -> None:
        """Buffers of the sampler for up to ``num_rows`` rows, and a memory pool for the graphs to come.

        Graphs captured before are dropped; a pool whose graphs are gone cannot be used again.
        """
        self.forget()
        self._pool = pool
        vocabulary = self.decoder.geometry.vocabulary_size
        self._buffers = SamplingBuffers.of(num_rows, vocabulary, self.decoder.device)

    def forget(self) -> None:
        """Drop graphs and samplers (their memory is needed for the next batch size)."""
        self._graphs.clear()
        self._samplers.clear()
        self._buffers = None

    def lay_out(self, layout: PassLayout) -> LaidOutPass:
        """Index tensors of a pass on the device."""
        ends = np.cumsum(layout.num_new_tokens) - 1
        wanted = ends if self.role is Role.DRAFT else np.arange(layout.total_tokens)
        rows = torch.as_tensor(wanted, device=self.decoder.device)
        return LaidOutPass(layout, self.decoder.prepare(layout), rows)

    def capture(self, one: LaidOutPass) -> None:
        """Capture the graph that this pass runs in, unless it is there already or this is a CPU."""
        key = _graph_key(one.layout)
        if not self.timer.is_gpu or key in self._graphs:
            return
        own = type(one.indices)(*(getattr(one.indices, f.name).clone() for f in fields(one.indices)))
        left: dict[str, Tensor] = {"rows": one.rows.clone()}

        def layers() -> None:
            left["hidden"] = self.decoder.forward(one.layout, own)
            if self.role is Role.DRAFT:
                self._sample(one.layout, left)

        self._graphs[key] = _Graph(self.timer.capture(layers, pool=self._pool), own, left)

    def run(self, one: LaidOutPass) -> None:
        """Forward, logits and sampling."""
        if not self.timer.is_gpu:
            left = {"hidden": self.decoder.forward(one.layout, one.indices), "rows": one.rows}
            self._sample(one.layout, left)
            return
        captured = self._graphs[_graph_key(one.layout)]
        for field in fields(one.indices):
            getattr(captured.indices, field.name).copy_(getattr(one.indices, field.name))
        if self.role is Role.DRAFT:
            captured.left["rows"].copy_(one.rows)
            captured.graph.replay()
            return
        captured.graph.replay()
        self._sample(one.layout, {"hidden": captured.left["hidden"], "rows": one.rows})

    def _sample(self, layout: PassLayout, left: dict[str, Tensor]) -> None:
        key = layout.num_sequences, len(left["rows"])
        if key not in self._samplers:
            self._samplers[key] = sampling_work(
                self.role, *key, self.decoder.geometry.vocabulary_size, self.decoder.device, self._buffers
            )
        left["tokens"] = self._samplers[key](self.decoder.logits(left["hidden"], left["rows"]))


def _graph_key(layout: PassLayout) -> tuple[int, int, int, int]:
    """What a captured graph is fixed to."""
    return layout.num_sequences, layout.padded_tokens, layout.longest, layout.context
