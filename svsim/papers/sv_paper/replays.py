"""Replays in memory, one record per method as it was asked for."""

import os
from collections.abc import Sequence

from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.latency.model import LatencyModel
from svsim.records import RunRecord
from svsim.trace.parts import MemorySource
from svsim.trace.token_trace import TokenTrace

Records = dict[tuple[str, int], RunRecord]

# The paper's own rule: tokens by survival until accepted tokens per second of verification fall.
PAPER_RULE = "objective=accepted,stop=first-drop,min_verify=1"
PROFILE_SPLIT = 0.5


def replayed(
    trace: TokenTrace,
    methods: Sequence[str],
    batch_sizes: Sequence[int],
    latency: LatencyModel,
    seed: int = 0,
) -> Records:
    """Records by (method as asked, batch size); beliefs learn on one half, the other is replayed."""
    limit, signals = trace.num_speculative_tokens, tuple(trace.observable.signals)
    parsed = {text: parse_method(text, limit, signals) for text in methods}
    settings = RunSettings(
        methods=tuple(parsed.values()),
        batch_sizes=tuple(batch_sizes),
        profile_split=PROFILE_SPLIT,
        seed=seed,
        jobs=os.cpu_count() or 1,
    )
    records = ClosedLoopReplay(prepare(MemorySource(trace), settings, [Deployment(latency)])).run()
    by_label = {(record.label, record.batch_size): record for record in records}
    return {(text, b): by_label[parsed[text].label, b] for text in methods for b in batch_sizes}
