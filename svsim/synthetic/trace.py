"""Synthetic traces: dense coherent chains drawn from a latent model with chosen observables.

The model
---------
Every drafted token x_d sits on a prefix and keeps its values wherever later chains carry it.

Text state. Along the text run two independent fields, each a request part plus an AR(1)::

    z = sqrt(h) R_z + sqrt(1 - h) Z      Z' = phi Z + sqrt(1 - phi^2) noise
    g = sqrt(h) R_g + sqrt(1 - h) G      G' = phi G + sqrt(1 - phi^2) noise

with R, Z, G, noise standard normal. After a rejection the state goes on from the rejected token's
own, with fresh noise. h makes requests differ, phi makes difficulty come in bursts. A shift adds the
task, the drift and the age (draft tokens in a row since the target's own; place: 0..1 along the output)::

    shift = (m_task - m) + delta (place - 1/2) + b[age]

b is zero unless acceptances by depth are asked for: a drafter that tires.

Wrong prefix. A token the target finds less likely than the draft did (a < 1) takes the text off
target, whether or not its coin accepts it: W' = 1 - a (1 - lambda W), W = 0 after a token of the
target's own. So what follows depends on the text and never on a coin: signals cannot leak coins.

Distributions. Target overlap and similarity given the text, n one more standard normal per token::

    O = Phi(m + shift + s (sqrt(1 - w) z + sqrt(w) n) - omega W)
    S = Phi(m + s (r' (z + shift/s) + sqrt(1 - r'^2) g))              r' = r (1 - W)

Token. Given O, the token's a = min(1, p(x)/q(x)) for x ~ q has mean O: an atom at 1, the rest below::

    a = Q(Phi(e); O)      Q(u; O) = 1 if u >= 1 - eta O, else (u/(1 - eta O))^((1 - O)/((1 - eta) O))
    A = Q(Phi(e_A); S)    e_A = kappa' (c e + sqrt(1 - c^2) n) + sqrt(1 - kappa'^2) noise
                          kappa' = kappa (1 - W)

e and n are independent of S and of all that came before, so E[a | O] = O and E[A | S] = S exactly,
and yet A tells about a beyond S. A greedy target is eta = 1: a is 0 or 1. The draft's entropy H is
exponential, correlated with z; q(x) = U^H has mean surprise H, U uniform and correlated with e. The
token is accepted iff its recorded coin, independent of everything else, is below a.

Trajectory. If a position's first token is accepted, the next position keeps the rest of the chain
and drafts ONE token; otherwise it drafts a fresh chain.

Calibration (``synthetic_calibration``) solves m, delta, b, h, phi, omega, r, kappa and the mean of H
for the observables of ``SyntheticSettings``; ``synthetic_measurement.measure`` verifies them. The
shape constants lambda, eta, c and the choice of w are in ``synthetic_latent``.
"""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError
from svsim.random_streams import RandomStreams
from svsim.synthetic.calibration import calibrate
from svsim.synthetic.drawing import RequestPlan, batches, grow, plan_requests, signals_of
from svsim.synthetic.latent import LatentParameters
from svsim.synthetic.memory import check_memory
from svsim.synthetic.settings import LATENT_ACCEPTANCE, SyntheticSettings
from svsim.trace.token_trace import ObservableColumns, TargetColumns, TokenTrace, TraceMetadata


def synthesize(settings: SyntheticSettings, seed: int, command: str | None = None) -> TokenTrace:
    """A trace with the observables of ``settings``; same settings and seed, same bytes.

    InputError names the binding limit where no trace can have them all.
    """
    check_memory(settings)
    low, high = LATENT_ACCEPTANCE
    for task in settings.tasks:
        asked = task.verified_acceptance if task.mean_acceptance is None else task.mean_acceptance
        if asked is not None and not low <= asked <= high:
            raise InputError(
                f"synthetic trace: acceptance is {asked:g}, expected {low:g}..{high:g} where "
                "signals tell something; `svsim synth` makes one task outside it, without signals"
            )
    parameters = calibrate(settings, seed)
    plan = plan_requests(settings, seed, settings.num_requests)
    signals, target = _draw_columns(plan, parameters, settings.num_speculative_tokens, seed)
    names = tuple(settings.tasks[task].name for task in plan.task)
    return TokenTrace(
        request_ids=tuple(f"{name}-{r:06d}" for r, name in enumerate(names)),
        first_position=plan.first_position,
        num_prompt_tokens=plan.num_prompt_tokens.astype(np.int32),
        observable=ObservableColumns(signals),
        target=target,
        metadata=TraceMetadata(
            num_speculative_tokens=settings.num_speculative_tokens,
            acceptance_kind="synthetic",
            chains="coherent",
            sampling={"greedy": settings.greedy},
            software={"numpy": np.__version__},
            seed=seed,
            command=command,
            extra={"settings": asdict(settings), "latent_parameters": _plain(parameters)},
        ),
        tasks=names,
    )


def _draw_columns(
    plan: RequestPlan, parameters: LatentParameters, num_speculative_tokens: int, seed: int
) -> tuple[dict[str, NDArray[np.float32]], TargetColumns]:
    """All columns [T, K], batch after batch."""
    shape = int(plan.first_position[-1]), num_speculative_tokens
    columns: dict[str, NDArray[np.float32]] = {}
    num_accepted = np.empty(shape[0], np.int16)
    row = 0
    for batch in batches(plan, num_speculative_tokens, seed):
        chains = grow(batch, parameters, num_speculative_tokens)
        rows = slice(row, row + len(chains.num_accepted))
        row = rows.stop
        num_accepted[rows] = chains.num_accepted
        tokens = signals_of(chains.latents, parameters)
        tokens["accept_prob"] = chains.accept_prob.astype(np.float32)
        tokens["target_overlap"] = chains.overlap.astype(np.float32)
        for name, values in tokens.items():
            column = columns.setdefault(name, np.empty(shape, np.float32))
            np.take(values, chains.token_of, out=column[rows])
    accept_prob, overlap = columns.pop("accept_prob"), columns.pop("target_overlap")
    return columns, TargetColumns(num_accepted, accept_prob, overlap)


def _plain(parameters: LatentParameters) -> dict[str, object]:
    return {name: np.asarray(value).tolist() for name, value in asdict(parameters).items()}


def constant_acceptance(
    accept_prob: float,
    *,
    num_requests: int,
    num_output_tokens: int,
    num_speculative_tokens: int,
    seed: int,
    num_prompt_tokens: int = 128,
    with_signals: bool = False,
) -> TokenTrace:
    """Every draft token is accepted with the same probability, independently: the textbook's case.

    Coherent chains. ``with_signals`` adds similarity and companion_accept equal to ``accept_prob``:
    present, and worth nothing; without it the trace has no signal at all.
    """
    if not 0.0 <= accept_prob <= 1.0:
        raise InputError(f"constant acceptance is {accept_prob}, expected a probability in 0..1")
    for name, value in (
        ("num_requests", num_requests),
        ("num_output_tokens", num_output_tokens),
        ("num_speculative_tokens", num_speculative_tokens),
    ):
        if value < 1:
            raise InputError(f"constant acceptance: {name} is {value}, expected at least 1")
    k = num_speculative_tokens
    coins = RandomStreams(seed).generator("constant acceptance").random((num_requests, num_output_tokens + k))
    index = np.arange(coins.shape[1])
    rejected_at = np.where(coins < accept_prob, coins.shape[1], index)
    next_rejected = np.minimum.accumulate(rejected_at[:, ::-1], axis=1)[:, ::-1]
    num_accepted = np.minimum(next_rejected - index, k)[:, :num_output_tokens].astype(np.int16)
    constant = np.full((num_accepted.size, k), accept_prob, np.float32)
    signals = {name: constant for name in ("similarity", "companion_accept") if with_signals}
    return TokenTrace(
        request_ids=tuple(f"constant-{r:06d}" for r in range(num_requests)),
        first_position=np.arange(num_requests + 1, dtype=np.int64) * num_output_tokens,
        num_prompt_tokens=np.full(num_requests, num_prompt_tokens, np.int32),
        observable=ObservableColumns(signals),
        target=TargetColumns(num_accepted.ravel(), constant, constant),
        metadata=TraceMetadata(
            k,
            "synthetic",
            "coherent",
            sampling={"greedy": False},
            seed=seed,
            extra={"constant_acceptance": accept_prob},
        ),
    )
