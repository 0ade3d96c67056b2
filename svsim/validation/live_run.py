"""Trained models really generating, beside the replay's prediction of that run.

1. A trace of the three models is captured (coherent chains). 2. The loop's own passes are timed on other
contexts. 3. The replay predicts a static batch of the evaluation part's requests. 4. The same requests
are generated live with every method, ABBA, with fresh random numbers. 5. Many texts behind one prompt tell
whether a method's text follows the law of target-only decoding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.method import DecodingMethod
from svsim.device.extras import hardware_name, require_extra, software_versions
from svsim.engines.binding import Deployment, selects
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import PreparedRun, RunSettings, prepare
from svsim.errors import InputError
from svsim.latency.shape import Role
from svsim.metrics.accuracy import GoodputPair, accuracy
from svsim.random_streams import RandomStreams
from svsim.records import RunRecord
from svsim.trace.file import TraceReader, creation_date
from svsim.trace.parts import FileSource
from svsim.trace_capture.capture import capture
from svsim.trace_capture.prompts import read_prompts
from svsim.trace_capture.settings import CaptureSettings
from svsim.validation.live_latency import Stopwatch, live_latency
from svsim.validation.live_plan import LivePlan
from svsim.validation.live_report import LiveReport, LiveRow, LiveSettings
from svsim.validation.runnable import runnable_methods
from svsim.validation.two_samples import LawTest, compare_laws

if TYPE_CHECKING:
    from svsim.trace_capture.coherent_chains import Triple
    from svsim.trace_capture.model_loading import LoadedModels
    from svsim.validation.live_decoder import LiveDecoder

Say = Callable[[str], None]


def live_run(settings: LiveSettings, say: Say = lambda line: None) -> LiveReport:
    """Capture, predict, generate, compare. Raises InputError or InfeasibleError, one line."""
    require_extra("torch", "transformers", "tokenizers")
    import torch

    from svsim.trace_capture.coherent_chains import Triple
    from svsim.trace_capture.model_loading import load_models

    prompts_file = settings.folder / f"prompts_{settings.task}.jsonl"
    trace_file = settings.scratch / "live_trace.parquet"
    captured = CaptureSettings(
        target=str(settings.folder / "target"),
        draft=str(settings.folder / "draft"),
        companion=str(settings.folder / "companion"),
        prompts=prompts_file,
        out=trace_file,
        sampling=settings.sampling,
        num_speculative_tokens=settings.num_speculative_tokens,
        num_output_tokens=settings.num_output_tokens,
        batch_size=64,
        max_requests=settings.max_requests,
        seed=settings.seed,
        device=settings.device,
        ignore_eos=True,
        command=settings.command,
    )
    report = capture(captured)
    say(f"captured {report.num_positions} positions")
    loaded = load_models(captured)
    triple = Triple(*(loaded.models[role] for role in ("target", "draft", "companion")))
    prompts = {p.request_id: _token_ids(p.token_ids, loaded, p.text) for p in read_prompts(prompts_file)}
    latency = live_latency(triple, settings, loaded.device, max(map(len, prompts.values())))
    say("timed the loop's passes")
    source = FileSource(TraceReader(trace_file))
    methods = runnable_methods(settings.methods, source, set(Role), live=True)
    if methods[0].name != "td":
        raise InputError("a live run compares with target-only decoding: name td first")
    run = RunSettings(methods, (settings.batch_size,), refill="static", seed=settings.seed, jobs=1)
    prepared = prepare(source, run, [Deployment(latency)])
    records = ClosedLoopReplay(prepared).run()
    say("replayed the trace")
    bench = _Live(prepared, triple, settings, loaded.device)
    rows = bench.rows(records, prompts, say)
    about = {
        "hardware": hardware_name(settings.device),
        "num_threads": torch.get_num_threads() if settings.device == "cpu" else None,
        "models": dict.fromkeys(("target", "draft", "companion"), settings.folder.name),
        "batch_size": settings.batch_size,
        "num_output_tokens": settings.num_output_tokens,
        "num_requests": prepared.part.num_requests,
        "num_repeats": settings.num_repeats,
        "sampling": asdict(settings.sampling),
        "seed": settings.seed,
        "software": software_versions(),
        "command": settings.command,
        "date": creation_date(),
    }
    pairs = [
        GoodputPair(
            r.method, settings.batch_size, r.predicted_tok_s, r.measured_tok_s, r.measured_standard_error
        )
        for r in rows
    ]
    return LiveReport(tuple(rows), accuracy(pairs), about)


def _token_ids(ids: Sequence[int] | None, loaded: "LoadedModels", text: str | None) -> list[int]:
    found = list(ids) if ids is not None else loaded.encode(text or "")
    if len(found) < 2:
        raise InputError("a live run needs prompts of at least two tokens")
    return found


class _Live:
    """The live runs of all methods."""

    def __init__(self, prepared: PreparedRun, triple: "Triple", settings: LiveSettings, device: Any) -> None:
        self.prepared, self.triple, self.settings, self.device = prepared, triple, settings, device
        self.latency = prepared.deployments[0].latency

    def rows(self, records: Sequence[RunRecord], prompts: Mapping[str, list[int]], say: Say) -> list[LiveRow]:
        settings, methods = self.settings, self.prepared.methods
        chosen = [prompts[name] for name in self.prepared.trace.request_ids]
        size = settings.batch_size
        batches = [chosen[i : i + size] for i in range(0, len(chosen) - size + 1, size)]
        goodputs: list[list[float]] = [[] for _ in methods]
        counts: list[list[NDArray[np.int64]]] = [[] for _ in methods]
        self._run(methods[-1], batches[:1], seed=0)  # warm-up
        for repeat in range(settings.num_repeats):
            order = range(len(methods)) if repeat % 2 == 0 else reversed(range(len(methods)))
            for m in order:
                goodput, count = self._run(methods[m], batches, seed=1 + repeat * len(methods) + m)
                goodputs[m].append(goodput)
                counts[m].append(count)
            say(f"generated {repeat + 1} of {settings.num_repeats}")
        laws = self._laws(chosen[0])
        return [
            self._row(record, np.array(goodputs[m]), np.concatenate(counts[m]), laws[m])
            for m, record in enumerate(records)
        ]

    def _run(
        self, method: DecodingMethod, batches: Sequence[Sequence[Sequence[int]]], seed: int
    ) -> tuple[float, NDArray[np.int64]]:
        """Goodput over all batches, prefill left out, and [requests, (steps, accepted, verified)]."""
        num, seconds, found = self.settings.num_output_tokens, 0.0, []
        plan = self._plan(method)  # what a rule learns it keeps from batch to batch, as in the replay
        for index, prompts in enumerate(batches):
            decoder = self._decoder(method, plan, 1000 * seed + index)
            prefill = Stopwatch(self.settings.device)
            decoder.start(prompts, num)
            prefill_s = prefill.seconds()
            whole = Stopwatch(self.settings.device)
            text = decoder.generate(prompts, num)
            seconds += whole.seconds() - prefill_s
            found.append(np.stack([text.num_steps, text.num_accepted, text.num_verified], 1))
        return sum(map(len, batches)) * num / seconds, np.concatenate(found)

    def _plan(self, method: DecodingMethod) -> LivePlan | None:
        return LivePlan(method, self.latency) if selects(method) else None

    def _decoder(self, method: DecodingMethod, plan: LivePlan | None, seed: int) -> "LiveDecoder":
        from svsim.validation.live_decoder import LiveDecoder

        k = method.num_speculative_tokens
        return LiveDecoder(self.triple, self.settings.sampling, k, plan, self.device, seed)

    def _laws(self, prompt: Sequence[int]) -> list[LawTest | None]:
        """Every method's texts behind one prompt against target-only decoding's."""
        settings, size = self.settings, self.settings.batch_size
        texts = []
        for m, method in enumerate(self.prepared.methods):
            decoder = self._decoder(method, self._plan(method), 500_000 + m)
            parts = [
                decoder.generate(
                    [prompt] * min(size, settings.num_law_texts - first), settings.num_law_tokens
                )
                for first in range(0, settings.num_law_texts, size)
            ]
            texts.append(np.concatenate([part.tokens for part in parts]))
        rng = RandomStreams(settings.seed).generator("law tests")
        return [None if m == 0 else compare_laws(texts[0], mine, rng) for m, mine in enumerate(texts)]

    def _row(
        self, record: RunRecord, goodputs: NDArray[np.float64], counts: NDArray[np.int64], law: LawTest | None
    ) -> LiveRow:
        sums = record.sums
        steps, accepted, verified = counts.T.astype(np.float64)
        mean = accepted.sum() / steps.sum()
        error = np.sqrt(((accepted - mean * steps) ** 2).sum()) / steps.sum()
        several = len(goodputs) > 1
        return LiveRow(
            record.label,
            record.lossless,
            float(sums.emitted_tokens.sum() / sums.seconds.sum()),
            float(np.median(goodputs)),
            float(goodputs.std(ddof=1) / np.sqrt(len(goodputs))) if several else None,
            float(1 + sums.accepted_tokens.sum() / sums.sequence_steps.sum()),
            float(1 + mean),
            float(error),
            float(sums.verified_tokens.sum() / sums.sequence_steps.sum()),
            float(verified.sum() / steps.sum()),
            law,
        )
