"""Acceptance and a server in, a decision per batch size out."""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svsim.advice.configurations import ENGINES, Configuration, Serving
from svsim.advice.decision import Advice, Candidate, decide
from svsim.advice.evidence import Evidence
from svsim.advice.ladder import Rung, ladder_of
from svsim.advice.search import Server, replayed
from svsim.advice.sentences import verdict_sentences
from svsim.advice.tables import advice_tables
from svsim.errors import InputError
from svsim.files import write_atomically
from svsim.metrics.rows import ResultRow
from svsim.model_choice import ModelChoice
from svsim.options import word
from svsim.progress import OnProgress
from svsim.report.plain_table import Lead
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

    @property
    def target(self) -> str:
        """The target as the caller, or the trace, names it."""
        told = open_source(self.evidence.trace, self.models).metadata.models.get("target")
        name = told.get("name") if isinstance(told, Mapping) else None
        return engine_path(self.models.target or name or "TARGET_MODEL")

    def serving(
        self,
        ladder: tuple[Rung, ...],
        tensor_parallel: int,
        hardware_options: str | None,
        verdict: Sequence[str],
        batched_tokens: int | None = None,
    ) -> Serving:
        """What is served so, with lengths by load."""
        longest, drafter = max(rung.k for rung in ladder), self.name or "model"
        return Serving(
            target=self.target,
            tensor_parallel=tensor_parallel,
            drafter=drafter,
            draft_model=_draft_model(self, drafter),
            draft_shards=tensor_parallel if "draft=sharded" in (hardware_options or "") else 1,
            ladder=ladder,
            rates=self.evidence.rates(longest) if longest else (),
            verdict=tuple(verdict),
            batched_tokens=batched_tokens,
        )


@dataclass(frozen=True, slots=True)
class AdviceResult:
    """Advice per hardware and batch size, with the rows it rests on.

    advice: of the batch sizes asked for; ladder: of all that were replayed. runs: one per drafter, in the
    order of ``drafting``; candidates: their rows that speculate.
    """

    advice: tuple[Advice, ...]
    ladder: tuple[Advice, ...]
    candidates: tuple[Candidate, ...] = field(repr=False)
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
            "config": {**self.config, "configurations": self.configurations()},
        }

    def configurations(self) -> dict[str, Any]:
        """The bare settings of every engine that has some for this drafter, by engine."""
        found = {}
        for engine in ENGINES:
            with suppress(InputError):
                found[engine] = dict(self.configuration(engine).settings)
        return found

    def to_frame(self) -> "pd.DataFrame":
        """The advice as a data frame, one row per hardware and batch size."""
        import pandas as pd

        return pd.DataFrame([one.to_dict() for one in self.advice])

    def configuration(self, engine: str) -> Configuration:
        """What that engine is started with: ``vllm``, ``sglang``, ``trtllm`` or ``llamacpp``.

        A fixed length by load, of the drafter that the advice names most. Raises InputError where the engine
        has no setting for it, or several deployments were asked about.
        """
        return ENGINES[word("emit", engine, tuple(ENGINES))](self._serving())

    def emit(self, engine: str, path: str | os.PathLike[str]) -> None:
        """Write that configuration: the bare settings to a ``.json`` file, else what is ready to paste."""
        write_atomically(Path(path), self.configuration(engine).content(os.fspath(path)).encode())

    def _serving(self) -> Serving:
        td = [row for row in self.runs[0].rows if row.method == "td"]
        deployments = list(dict.fromkeys(row.deployment for row in td))
        if len(deployments) > 1:
            raise InputError(
                f"`emit` is of one hardware, but {len(deployments)} are asked about; name one with `hardware`"
            )
        one = self._main_drafting()
        own = [c for c in self.candidates if c.row.method == "sd" and c.evidence is one.evidence]
        ladder = ladder_of(decide(td, own))
        if not ladder:
            raise InputError("`emit`: no batch size fits in memory; there is nothing to serve")
        if "_hardware=" in (td[0].hardware_options or ""):
            raise InputError("`emit`: no engine has a setting for a draft model on devices of its own")
        return one.serving(
            ladder, td[0].tensor_parallel or 1, td[0].hardware_options, verdict_sentences(self.advice)
        )

    def _main_drafting(self) -> Drafting:
        """The drafter that most batch sizes want, the first of several."""
        wanted = [one.drafter for one in self.ladder if one.use != "td"]
        return max(self.drafting, key=lambda one: wanted.count(one.name))

    def report(self, path: str | os.PathLike[str], *, command: str | None = None) -> None:
        """Write the page: the advice, then the first drafter's rows, as ``replay`` shows them."""
        tables = advice_tables(self.advice, self.rows, self.prefill)
        self.runs[0].report(path, command=command, lead=Lead(verdict_sentences(self.advice), tables))

    @property
    def prefill(self) -> str:
        """``include`` or ``exclude``."""
        return str(self.config["prefill"])


def _draft_model(one: Drafting, drafter: str) -> str | None:
    """The path of what drafts, as it was given; a word in capitals where it was not."""
    given = one.models.head or one.models.draft
    if drafter in ("mtp", "ngram", "none"):
        return None if given is None or drafter != "mtp" else engine_path(given)
    return engine_path(given) if given is not None else f"{drafter.upper()}_MODEL"


def engine_path(model: str | Path) -> str:
    """A model as engines take it: the folder of its config.json."""
    return str(Path(model).parent) if Path(model).name == "config.json" else str(model)


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
    return AdviceResult(advice, ladder, tuple(candidates), tuple(drafting), tuple(runs))


def _options(drafting: Drafting, server: Server, run: RunResult) -> str:
    """The models, and where prices come from, as a command has them."""
    told = drafting.models.to_dict()
    words = [w for name, value in told.items() for w in (f"--{name}", value)]
    if run.config["latency"] != "trace":
        words += ["--latency", str(run.config["latency"])]
    if server.engine:
        words += ["--engine", server.engine]
    words += ["--prefill", str(run.config["prefill"])]
    return f" {shlex.join(words)}" if words else ""
