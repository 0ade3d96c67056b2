"""The answer of ``plan``: rows, points, the best, in words, as a frame, a figure, a page, a configuration."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svsim.advice.advise import Drafting, engine_path
from svsim.advice.configurations import ENGINES, Configuration, Serving
from svsim.advice.evidence import of_trace
from svsim.advice.ladder import Rung
from svsim.errors import InputError
from svsim.files import write_atomically
from svsim.model_choice import ModelChoice
from svsim.options import word
from svsim.planning.rows import BEST, PlanRow
from svsim.planning.sentences import plan_sentences
from svsim.planning.tables import hour_table, plan_table
from svsim.report.plain_table import PlainTable
from svsim.run import Trace
from svsim.serving.metrics import csv_of
from svsim.version import __version__

if TYPE_CHECKING:
    import pandas as pd

EXPRESSIBLE = ("td", "sd")  # what engines have a setting for
NESTED = ("at_max_rate", "fleet", "tightest_slo", "params")


@dataclass(frozen=True, slots=True)
class PlanResult:
    """Plans, best first.

    points: every rate that was simulated, of every candidate. hours: replicas by hour.
    """

    plans: tuple[PlanRow, ...]
    points: tuple[Mapping[str, Any], ...] = field(repr=False)
    hours: tuple[Mapping[str, Any], ...]
    left_out: tuple[Mapping[str, Any], ...]
    trace: Mapping[str, Any] | None
    config: Mapping[str, Any]
    notes: tuple[str, ...]
    source: Trace | None = field(repr=False)
    models: ModelChoice = field(repr=False)

    @property
    def best(self) -> PlanRow:
        """The plan to take."""
        return next(row for row in self.plans if row["verdict"] == BEST)

    @property
    def sentences(self) -> list[str]:
        """The decision in words."""
        demand = self.config["demand"]
        return plan_sentences(self.plans, self.hours, None if demand is None else self.demand_words)

    @property
    def demand_words(self) -> str:
        """What the fleet shall carry."""
        peak = f"{self.config['peak_rate']:,.4g} requests/s"
        return peak if not self.hours else f"{self.config['demand']} (at most {peak})"

    @property
    def tables(self) -> list[PlainTable]:
        """Plans, and replicas by hour."""
        return [plan_table(self.plans), *([hour_table(self.hours)] if self.hours else [])]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "svsim": __version__,
            "trace": None if self.trace is None else dict(self.trace),
            "config": dict(self.config),
            "notes": list(self.notes),
            "words": self.sentences,
            "plans": [dict(row) for row in self.plans],
            "pareto": [dict(point) for point in self.points],
            "best": {**self.best, "hours": [dict(hour) for hour in self.hours]},
            "left_out": [dict(one) for one in self.left_out],
        }

    def to_frame(self) -> "pd.DataFrame":
        """One row per candidate, best first."""
        import pandas as pd

        return pd.DataFrame(self._flat())

    def to_csv(self) -> str:
        """The plans as CSV; undefined as empty."""
        return csv_of(self._flat())

    def _flat(self) -> list[dict[str, Any]]:
        return [
            {name: row[name] for name in row if name not in NESTED}
            | {"tightest_slo": row["tightest_slo"]["text"]}
            for row in self.plans
        ]

    def pareto(self) -> "pd.DataFrame":
        """Tokens per second of a GPU and of a user, one row per rate that was simulated."""
        import pandas as pd

        return pd.DataFrame([{k: v for k, v in p.items() if k not in ("params", "slo")} for p in self.points])

    def figure(self) -> Any:
        """The Pareto front, for a notebook: a plotly figure."""
        from svsim.report.planning_figures import pareto_figure

        return pareto_figure(self.points)

    def report(self, path: str | os.PathLike[str], *, command: str | None = None) -> None:
        """Write one offline HTML page: what ``--report`` writes."""
        from svsim.report.planning_page import write_plan  # the only path to plotly

        write_plan(self, path, command or "")

    def configuration(self, engine: str) -> Configuration:
        """What that engine is started with; of the best plan among those that engines have settings for."""
        make = ENGINES[word("emit", engine, tuple(ENGINES))]
        rows = [row for row in self.plans if row["method"] in EXPRESSIBLE and row["max_rate"]]
        if not rows:
            raise InputError(
                f"`emit` {engine}: no plan here is td or sd, the methods that it has settings for; plan with "
                "`methods` td and sd too"
            )
        row = rows[0]
        verdict = list(self.sentences[:2])
        if row["verdict"] != BEST:
            verdict.append(
                f"Engines have no setting for {self.best['label']}: this is {row['label']} on "
                f"{row['deployment']}."
            )
        ladder = (Rung(1, row["max_num_seqs"], int(row["params"].get("k", 0))),)
        degree, tokens = row["tensor_parallel"] or 1, row["max_num_batched_tokens"]
        if self.source is None:
            target = engine_path(self.models.target or "TARGET_MODEL")
            return make(Serving(target, degree, "model", None, 1, ladder, (), tuple(verdict), tokens))
        drafting = Drafting(of_trace(self.source, self.models, 1), self.models)
        return make(drafting.serving(ladder, degree, row["hardware_options"], verdict, tokens))

    def emit(self, engine: str, path: str | os.PathLike[str]) -> None:
        """Write that configuration: the bare settings to a ``.json`` file, else what is ready to paste."""
        write_atomically(Path(path), self.configuration(engine).content(os.fspath(path)).encode())
