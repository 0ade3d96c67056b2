"""A hook for an engine's own decoding loop: one call per step and sequence, a stepwise trace at the end.

    recorder = Recorder(num_speculative_tokens=5)
    recorder.start("request-1", num_prompt_tokens=117)
    while decoding:
        ...                                   # the engine drafts, scores and verifies as it always does
        recorder.step("request-1", draft_tokens, num_accepted, draft_probs, companion_probs, target_probs)
    save_trace(recorder.trace(models={...}, sampling={...}), "trace.parquet")

A step tells what happened at the position it began at. The positions it emitted hold the rest of the
same chain, shortened by what was accepted; depths that no step drafted are recorded as 0 and not
accepted. Such a trace replays the recorded verification lengths from the recorded starts exactly, and
everything else approximately (``chains = "stepwise"``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from svsim.device.extras import software_versions
from svsim.errors import InputError, require
from svsim.trace.file import creation_date
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata
from svsim.trace_capture.sampling import at, ratio_capped
from svsim.trace_capture.signals import entropy, observable_signals

Columns = dict[str, NDArray[np.float32]]


@dataclass(slots=True)
class _Recording:
    num_prompt_tokens: int
    task: str | None
    num_accepted: list[int] = field(default_factory=list)
    columns: list[Columns] = field(default_factory=list)


class Recorder:
    """Collects steps of any number of requests; memory grows with the positions recorded."""

    def __init__(self, num_speculative_tokens: int) -> None:
        require(
            num_speculative_tokens >= 1, f"num_speculative_tokens = {num_speculative_tokens}; expected >= 1"
        )
        self.num_speculative_tokens = num_speculative_tokens
        self._requests: dict[str, _Recording] = {}
        self._names: tuple[str, ...] | None = None

    def start(self, request_id: str, num_prompt_tokens: int, task: str | None = None) -> None:
        """A request begins; ids are used once."""
        if request_id in self._requests:
            raise InputError(f"request {request_id!r} was started before; expected unique ids")
        self._requests[request_id] = _Recording(num_prompt_tokens, task)

    def step(
        self,
        request_id: str,
        draft_tokens: Sequence[int],
        num_accepted: int,
        draft_probs: Any,
        companion_probs: Any = None,
        target_probs: Any = None,
    ) -> None:
        """One decoding step of one sequence.

        draft_tokens: the k <= K tokens that were verified, and num_accepted of them accepted.
        *_probs:      probabilities [k, V] the tokens were drawn from, scored and judged with (arrays or
                      tensors; after the sampling warpers). The companion's and the target's are
                      optional, but the same ones must come with every step.
        """
        recording = self._requests.get(request_id)
        if recording is None:
            raise InputError(f"request {request_id!r} was not started; call start first")
        num = len(draft_tokens)
        if not 0 <= num_accepted <= num <= self.num_speculative_tokens:
            raise InputError(
                f"request {request_id!r}: {num_accepted} of {num} draft tokens accepted; expected "
                f"accepted <= drafted <= K = {self.num_speculative_tokens}"
            )
        columns = self._signals(
            torch.as_tensor(draft_tokens), num, (draft_probs, companion_probs, target_probs)
        )
        for shift in range(num_accepted + 1):
            recording.num_accepted.append(num_accepted - shift)
            recording.columns.append({name: _shifted(values, shift) for name, values in columns.items()})

    def _signals(self, tokens: Tensor, num: int, probs: tuple[Any, Any, Any]) -> Columns:
        """Signals of the step's tokens, float32 [K], zeros behind the last one."""
        q, c, p = (None if x is None else torch.as_tensor(x).float() for x in probs)
        if q is None:
            raise InputError("draft_probs is missing; expected probabilities [k, V] of the draft")
        if c is None:
            found = {"draft_prob": at(q, tokens), "draft_entropy": entropy(q)} if num else {}
        else:
            found = observable_signals(q, c, tokens) if num else {}
        if p is not None and num:
            found["accept_prob"] = ratio_capped(at(p, tokens), at(q, tokens))
            found["target_overlap"] = torch.minimum(q, p).sum(-1)
        if num:
            names = tuple(sorted(found))
            if self._names not in (None, names):
                raise InputError(
                    f"this step comes with {', '.join(names)}, earlier ones with "
                    f"{', '.join(self._names or ())}; pass the same models' probabilities at every step"
                )
            self._names = names
        padded = {name: np.zeros(self.num_speculative_tokens, np.float32) for name in self._names or ()}
        for name, values in found.items():
            padded[name][:num] = values.cpu().numpy()
        return padded

    def trace(
        self,
        models: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        **metadata: Any,
    ) -> TokenTrace:
        """Everything recorded so far as a trace.

        sampling: what losslessness depends on, ``{"greedy": bool, "deterministic_draft": bool}`` (a draft
        that is a function of the prefix), and whatever else is known. metadata: further fields of
        TraceMetadata.
        """
        recordings = {name: r for name, r in self._requests.items() if r.num_accepted}
        if not recordings or self._names is None:
            raise InputError("nothing was recorded; expected at least one step with a draft token")
        depth = self.num_speculative_tokens
        rows = [row for recording in recordings.values() for row in recording.columns]
        empty = np.zeros(depth, np.float32)
        columns = {name: np.stack([row.get(name, empty) for row in rows]) for name in self._names}
        lengths = [len(recording.num_accepted) for recording in recordings.values()]
        tasks = [recording.task for recording in recordings.values()]
        target = {name: columns.pop(name, None) for name in ("accept_prob", "target_overlap")}
        return TokenTrace(
            request_ids=tuple(recordings),
            first_position=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            num_prompt_tokens=np.array([r.num_prompt_tokens for r in recordings.values()], np.int32),
            observable=ObservableColumns(columns),
            target=TargetColumns(
                np.concatenate([np.array(r.num_accepted, np.int16) for r in recordings.values()]),
                target["accept_prob"],
                target["target_overlap"],
            ),
            metadata=TraceMetadata(
                num_speculative_tokens=depth,
                acceptance_kind="captured",
                chains="stepwise",
                models=models or {},
                sampling=sampling or {},
                **{"software": software_versions(), "date": creation_date(), **metadata},
            ),
            tasks=tuple(task or "" for task in tasks) if any(tasks) else None,
        )


def _shifted(values: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """The chain after ``by`` of its tokens were accepted: the rest, zeros behind it."""
    return np.concatenate([values[by:], np.zeros(by, np.float32)])
