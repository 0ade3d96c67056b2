"""A question of open-loop serving as it was asked, so that its page can ask for more."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

from svsim.open_loop.options import ServeOptions, ServeRun
from svsim.run import Trace


@dataclass(frozen=True, slots=True)
class OpenLoopQuestion:
    """What was asked, and what it was understood as."""

    trace: Trace | None
    options: ServeOptions
    run: ServeRun

    @property
    def command(self) -> str:
        """The call in Python, with what differs from the defaults."""
        given = (
            []
            if self.trace is None
            else [repr(str(self.trace)) if isinstance(self.trace, str | Path) else "trace"]
        )
        for options in (self.options, self.options.run):
            given += [
                f"{f.name}={value!r}"
                for f in fields(type(options))
                if f.name not in ("run", "models") and (value := getattr(options, f.name)) != f.default
            ]
        return f"svsim.serve_sim({', '.join([*given, *self.options.run.models.words])})"

    @property
    def inputs(self) -> list[Path]:
        """Files that were read."""
        options = self.options
        named = (self.trace, options.workload, options.run.latency, options.run.prices)
        return [Path(one) for one in named if isinstance(one, str | Path) and os.path.exists(one)]
