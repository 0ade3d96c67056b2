"""One replica on a small trace, for tests of laws, methods and speed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from support.small_traces import LINEAR, independent_trace, with_draft_signals, with_method_columns
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment, bind_columns
from svsim.engines.settings import RunSettings, prepare
from svsim.latency.linear import LinearLatency
from svsim.serving.replica import MethodPrices, ReplicaEngine
from svsim.serving.settings import SchedulerSettings
from svsim.serving.state import REQUEST, Pool, Requests, new_account
from svsim.trace.parts import MemorySource
from svsim.trace.token_trace import TokenTrace

ENDLESS = 1 << 40
HORIZON_S = 1e9


def small_trace(k: int = 8, num_requests: int = 40) -> TokenTrace:
    """With every signal that a preset may read."""
    made = independent_trace(num_requests, k, seed=3, output_tokens=(30, 60))
    return with_method_columns(with_draft_signals(made))


def steps_of(fixed_s: float) -> LinearLatency:
    """Every step takes the same time."""
    target = {"fixed_s": fixed_s, "per_new_token_s": 0.0, "per_kv_token_s": 0.0}
    return LinearLatency.from_json({"kind": "linear", "target": target, "overhead_per_step_s": 0.0}, "test")


class SmallServer:
    """A method on the evaluation part of a trace: ``replica`` starts one, ``requests`` asks for something."""

    def __init__(
        self,
        text: str,
        trace: TokenTrace,
        latency: Any = None,
        *,
        max_num_seqs: int = 16,
        max_num_batched_tokens: int = 512,
        prefill_is_free: bool = False,
    ) -> None:
        self.deployment = Deployment(latency or LinearLatency.from_json(LINEAR, "test"))
        method = parse_method(text, trace.num_speculative_tokens, frozenset(trace.observable.signals))
        settings = RunSettings((method,), (1,))
        prepared = prepare(MemorySource(trace), settings, [self.deployment])
        self.method = prepared.methods[0]
        self.trace = next(iter(prepared.part.chunks()))
        self.columns = bind_columns(self.method, self.trace, settings.coins, 0)
        self.options = {
            "max_num_seqs": max_num_seqs,
            "max_num_batched_tokens": max_num_batched_tokens,
            "prefill_is_free": prefill_is_free,
        }
        self.prices = MethodPrices(
            self.method, self.columns, self.deployment, (1.0, 400.0), max_num_batched_tokens, max_num_seqs,
            400.0, prefill_is_free=prefill_is_free,
        )  # fmt: skip
        rows = self.trace.num_output_tokens.astype(np.int64)
        self.pool = Pool(self.trace.first_position[:-1].astype(np.int64), rows, np.arange(len(rows)))

    def replica(self, num_blocks: int = ENDLESS, num_turns: int = 1, **options: Any) -> ReplicaEngine:
        chosen: Mapping[str, Any] = {**self.options, **options}
        draft = self.deployment.priced(self.method).work.draft
        rules = SchedulerSettings(**chosen).rules(self.method, draft, num_blocks)
        account = new_account(50, 1e9, 1, 1e9)
        return ReplicaEngine(self.prices, rules, self.pool, account, num_turns)

    def requests(self, arrival_s: ArrayLike, prompt: ArrayLike, output: ArrayLike) -> Requests:
        """Request i borrows from the trace's request i, and so on in a circle."""
        arrivals = np.asarray(arrival_s, np.float64)
        made = np.zeros(len(arrivals), REQUEST)
        made["row"] = np.arange(len(made))
        made["arrival_s"], made["prompt"], made["output"] = arrivals, prompt, output
        lender = made["row"] % len(self.pool.rows)
        made["piece_first"], made["piece_rows"] = self.pool.first[lender], self.pool.rows[lender]
        made["next_turn"], made["scheduled_s"], made["chain"] = -1, -1.0, lender
        return made


def served(replica: ReplicaEngine, requests: Requests, until_s: float = HORIZON_S) -> Requests:
    """All requests as they finished, by their rows."""
    replica.advance(requests, until_s)
    return np.sort(replica.take_done(), order="row")
