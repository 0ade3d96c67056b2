"""The result of an open-loop question, and the page about it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from svsim.errors import InputError
from svsim.open_loop.closed_loop import beside_closed_loop
from svsim.open_loop.question import OpenLoopQuestion
from svsim.open_loop.rate_curve import rate_curve
from svsim.progress import OnProgress
from svsim.serving.metrics import ServingTable


@dataclass(frozen=True, slots=True)
class ServingResult(ServingTable):
    """Rows of ``serve_sim``; distributions: quantiles of latencies by method."""

    distributions: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    question: OpenLoopQuestion | None = field(default=None, repr=False, compare=False)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        command: str | None = None,
        progress: OnProgress | None = None,
    ) -> None:
        """Write one offline HTML page: what ``--report`` writes.

        Runs the same question at other rates around the asked one, and the closed loop at the mean batch.
        command: how the page says it was made. Raises InputError if ``path`` is a file that was read.
        """
        from svsim.report.serving_page import write_serving_page  # the only path to plotly

        asked = self.question
        curve: tuple[Mapping[str, Any], ...] = ()
        closed: tuple[Mapping[str, Any], ...] = ()
        if asked is not None:
            for source in asked.inputs:
                if os.path.exists(path) and os.path.samefile(path, source):
                    raise InputError(f"{path} is read by this run; write the page to another file")
            curve = rate_curve(asked, self.rows, progress)
            closed = beside_closed_loop(asked, self.rows)
        command = command or (asked.command if asked else "")
        write_serving_page(self, curve, closed, path, command)
