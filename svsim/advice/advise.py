"""Acceptance and a server in, a decision per batch size out."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from svsim.advice.decision import Advice, Candidate, decide
from svsim.advice.evidence import Evidence
from svsim.advice.search import Server, replayed
from svsim.metrics.rows import ResultRow
from svsim.model_choice import ModelChoice
from svsim.progress import OnProgress
from svsim.run import RunResult, open_source
from svsim.version import __version__

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Drafting:
    """One drafter that may be used: what is known of its acceptance, and the models with it."""

    evidence: Evidence
    models: ModelChoice

    @property
    def name(self) -> str | None:
        """The drafter; None where nothing says it."""
        drafter = self.models.drafter_of(open_source(self.evidence.trace, self.models).metadata.models)
        return None if drafter is None else drafter.name


@dataclass(frozen=True, slots=True)
class AdviceResult:
    """Advice per hardware and batch size, with the rows it rests on.

    advice: of the batch sizes asked for; ladder: of all that were replayed. runs: one per drafter, in the
    order of ``drafting``.
    """

    advice: tuple[Advice, ...]
    ladder: tuple[Advice, ...]
    drafting: tuple[Drafting, ...]
    runs: tuple[RunResult, ...] = field(repr=False)

    @property
    def rows(self) -> tuple[ResultRow, ...]:
        """Every row; td once."""
        first, *others = self.runs
        return first.rows + tuple(row for run in others for row in run.rows if row.method != "td")

    @property
    def config(self) -> dict[str, Any]:
        """What was run, and what was known of acceptance."""
        return {
            **self.runs[0].config,
            "acceptance": [_acceptance(one) for one in self.drafting],
            "notes": list(self.notes),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each: what was assumed, and what to know about the rows."""
        of_evidence = (note for one in self.drafting for note in one.evidence.notes)
        left_out = {row.label for row in self.rows} - {"td", *(one.use for one in self.ladder)}
        of_runs = (note for run in self.runs for note in run.notes)
        kept = [note for note in of_runs if not any(f", {label}: " in note for label in left_out)]
        return tuple(dict.fromkeys([*of_evidence, *kept]))

    @property
    def engine(self) -> str:
        """The profile that priced the steps."""
        return self.runs[0].rows[0].engine

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "svsim": __version__,
            "advice": [one.to_dict() for one in self.advice],
            "rows": [asdict(row) for row in self.rows],
            "config": self.config,
        }

    def to_frame(self) -> "pd.DataFrame":
        """The advice as a data frame, one row per hardware and batch size."""
        import pandas as pd

        return pd.DataFrame([one.to_dict() for one in self.advice])

    def report(self, path: str | os.PathLike[str], *, command: str | None = None) -> None:
        """Write the page about the first drafter's rows, as ``replay`` does."""
        self.runs[0].report(path, command=command)


def _acceptance(drafting: Drafting) -> dict[str, Any]:
    evidence = drafting.evidence
    known: Mapping[str, Any] = {} if evidence.profile is None else evidence.profile.to_dict()
    return {"drafter": drafting.name, "longest_searched": evidence.longest, **known}


def advise(drafting: Sequence[Drafting], server: Server, progress: OnProgress | None = None) -> AdviceResult:
    """What to run at every batch size, of the lengths of every drafter. Raises the errors of svsim."""
    runs = [replayed(one.evidence, one.models, server, progress) for one in drafting]
    candidates = [
        Candidate(row, one.evidence, one.name, _options(one, server, run))
        for one, run in zip(drafting, runs, strict=True)
        for row in run.rows
        if row.method != "td" and not row.is_bound and (row.lossless or server.methods)
    ]
    baselines = [row for row in runs[0].rows if row.method == "td"]
    ladder = decide(baselines, candidates)
    asked = set(server.concurrency) or {one.batch_size for one in ladder}
    advice = tuple(one for one in ladder if one.batch_size in asked)
    return AdviceResult(advice, ladder, tuple(drafting), tuple(runs))


def _options(drafting: Drafting, server: Server, run: RunResult) -> str:
    """The models, and where prices come from, as a command has them."""
    told = drafting.models.to_dict()
    words = [w for name, value in told.items() for w in (f"--{name}", value)]
    if run.config["latency"] != "trace":
        words += ["--latency", str(run.config["latency"])]
    if server.engine:
        words += ["--engine", server.engine]
    return f" {shlex.join(words)}" if words else ""
