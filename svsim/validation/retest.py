"""Has the machine changed since the table was made? The table's own shapes, timed again beside the loop.

Every shape is timed as the calibration timed it, half of the repeats before the loop's steps and half after
them. What differs from the table is then not the prediction's fault: it is the floor under its errors.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svsim.calibration.decoder import RandomDecoder
from svsim.calibration.device_timer import DeviceTimer
from svsim.calibration.pass_layout import PassLayout
from svsim.calibration.timed_pass import pass_stages
from svsim.latency.shape import Role
from svsim.validation.loop_report import Retest

Columns = Mapping[str, NDArray[Any]]
MAX_SHAPES = 3  # of one role and batch size


class Retester:
    """Times rows of a step-time table (``svsim.latency.step_times``) again with models at hand.

    max_cache_tokens: what the models' caches hold; rows that need more are not chosen.
    """

    def __init__(
        self,
        table: Columns,
        decoders: Mapping[Role, RandomDecoder],
        timer: DeviceTimer,
        num_repeats: int,
        max_cache_tokens: int,
    ) -> None:
        self.table, self.decoders, self.timer = table, decoders, timer
        self.num_repeats, self.max_cache_tokens = num_repeats, max_cache_tokens

    def choose(self, num_sequences: int, context: float) -> list[Retest]:
        """Rows of that batch size, of every role, at the table's context nearest to ``context``."""
        return [row for role in self.decoders for row in self._chosen(role, num_sequences, context)]

    def _chosen(self, role: Role, num_sequences: int, context: float) -> Iterator[Retest]:
        sequences, tokens, kv = (
            np.asarray(self.table[name]) for name in ("num_sequences", "num_new_tokens", "num_kv_tokens")
        )
        longest = np.asarray(self.table.get("longest_query", -(-tokens // sequences)))
        is_even = longest == -(-tokens // sequences)  # the layout of others is not in the table
        fits = (kv > 0) & (kv + sequences * longest <= self.max_cache_tokens)
        here = (np.asarray(self.table["role"]) == role) & (sequences == num_sequences) & is_even & fits
        here &= np.asarray(self.table["tensor_parallel"]) == 1
        if not here.any():
            return
        distance = np.abs(np.log(kv / sequences, where=here, out=np.full(len(kv), np.inf)) - np.log(context))
        here &= np.isclose(distance, distance[here].min())
        rows = np.flatnonzero(here)[np.argsort(tokens[here], kind="stable")]
        for row in rows[np.unique(np.linspace(0, len(rows) - 1, MAX_SHAPES).round().astype(int))]:
            seconds = float(self.table["seconds"][row])
            yield Retest(role, num_sequences, int(tokens[row]), int(kv[row]), seconds, np.nan)

    def seconds(self, row: Retest) -> NDArray[np.float64]:
        """Half of the repeats, float64 [repeats]."""
        layout = PassLayout.spread(
            row.num_sequences, row.num_new_tokens, row.num_kv_tokens // row.num_sequences
        )
        stages = pass_stages(self.decoders[row.role], layout, row.role)
        seconds: NDArray[np.float64] = self.timer.time(stages, -(-self.num_repeats // 2), 1).seconds
        return np.asarray(seconds.sum(axis=1))
