"""PEARL: two literal processes against the bits of a trace, closed forms, draft tokens per step, groups."""

from dataclasses import replace

import numpy as np
import pytest
from support.command_line import svsim_json
from support.parallel_processes import two_processes
from support.small_traces import StairLatency, independent_trace

from svsim.analytic_model.model import AnalyticModel
from svsim.analytic_model.parallel import walk_parallel
from svsim.analytic_model.walks import Paths
from svsim.decoding.drafters import HeadDrafter
from svsim.decoding.presets import parse_method
from svsim.engines.binding import Deployment
from svsim.engines.parallel import with_gamma
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import LatencyError, MethodError
from svsim.latency.shape import Role
from svsim.trace.file import save_trace
from svsim.trace.parts import MemorySource
from svsim.trace.token_trace import TargetColumns

VOCABULARY, PROMPT, NUM_TOKENS = 4, (1, 2), 400


def drawn(law, share):
    """The token of a law at a share of its cumulative mass."""
    return int(min(np.searchsorted(np.cumsum(law), share), len(law) - 1))


class PlacedChoices:
    """Random order-2 models; a place of the text has its own draw, coin and recovered token.

    Greedy models take their likeliest token. So the text is one whatever was drafted when.
    """

    def __init__(self, seed, closeness, greedy):
        rng = np.random.default_rng(seed)
        shape = (VOCABULARY, VOCABULARY)
        self.p = rng.dirichlet(np.ones(VOCABULARY), shape)
        self.q = closeness * self.p + (1 - closeness) * rng.dirichlet(np.ones(VOCABULARY), shape)
        self.draws = rng.random((NUM_TOKENS + 64 + len(PROMPT), 3))
        self.greedy = greedy

    def next_token(self, text):
        law = self.q[text[-2:]]
        return int(law.argmax()) if self.greedy else drawn(law, self.draws[len(text), 0])

    def verdict(self, text, token):
        p, q = self.p[text[-2:]], self.q[text[-2:]]
        if self.greedy:
            return token == p.argmax(), int(p.argmax())
        rest = np.maximum(p - q, 0.0)
        other = drawn(rest / rest.sum(), self.draws[len(text), 2]) if rest.sum() > 0 else token
        return self.draws[len(text), 1] * q[token] < p[token], other

    def trajectory(self):
        """The text of the target, and whether the draft's token at each place is accepted."""
        text, bits = list(PROMPT), []
        for _ in range(NUM_TOKENS + 32):
            token = self.next_token(tuple(text))
            is_accepted, other = self.verdict(tuple(text), token)
            text.append(token if is_accepted else other)
            bits.append(is_accepted)
        return text[len(PROMPT) :], np.array(bits)


def paths(num_rows):
    return Paths(np.array([0]), np.array([num_rows]), np.array([0]))


@pytest.mark.parametrize("gamma", [1, 2, 3, 6, 11])
@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("closeness", [0.2, 0.7, 0.95])
def test_two_processes_do_what_the_bits_say(gamma, greedy, closeness):
    """The text is the target's; every step reads and emits what PRE and POST read off the bits."""
    for seed in range(3):
        choices = PlacedChoices(seed, closeness, greedy)
        text, bits = choices.trajectory()
        emitted, steps = two_processes(choices.next_token, choices.verdict, PROMPT, gamma, NUM_TOKENS)
        assert emitted == text[: len(emitted)]
        walks = walk_parallel(paths(len(emitted)), bits.astype(np.uint8), gamma)
        starts = np.cumsum([0, *(count for _, count in steps)])[:-1]
        np.testing.assert_array_equal(walks.visits.starts, starts)
        np.testing.assert_array_equal(np.where(walks.is_post, gamma, 1), [read for read, _ in steps])


def bits_trace(bits, num_tokens):
    """A trace of one request, K = 1, that accepts as the bits say."""
    made = independent_trace(1, 1, output_tokens=(num_tokens, num_tokens + 1), chains="coherent")
    accepted = bits[:num_tokens].astype(np.int16)
    return replace(made, target=TargetColumns(accepted, None))


@pytest.mark.parametrize("gamma", [2, 5])
def test_the_replay_takes_the_steps_of_the_two_processes(gamma):
    choices = PlacedChoices(5, 0.8, False)
    _, bits = choices.trajectory()
    emitted, steps = two_processes(choices.next_token, choices.verdict, PROMPT, gamma, NUM_TOKENS)
    method = parse_method(f"pearl:gamma={gamma}")
    settings = RunSettings((method,), (1,), refill="static")
    trace = bits_trace(bits, len(emitted))
    record = ClosedLoopReplay(prepare(MemorySource(trace), settings, [Deployment(StairLatency())])).run()[0]
    assert record.sums.sequence_steps.sum() == len(steps)
    assert record.sums.verified_tokens.sum() == sum(read for read, _ in steps)
    assert record.sums.emitted_tokens.sum() == len(emitted)
    assert record.replay_kind == "exact"


def closed_form(alpha, gamma):
    """Tokens per step of i.i.d. bits: PRE emits 1, POST a run cut at gamma, its correction included."""
    post = alpha / (alpha + 1 - alpha**gamma)
    return 1 - post + post * (1 - alpha**gamma) / (1 - alpha)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.3, 2), (0.6, 1), (0.6, 4), (0.8, 7), (0.9, 5), (0.95, 12)])
def test_tokens_per_step_of_independent_bits(alpha, gamma):
    trace = independent_trace(60, 1, seed=gamma, accept_prob=alpha, output_tokens=(1900, 2100), signals=False)
    settings = RunSettings((parse_method(f"pearl:gamma={gamma}"),), (4,))
    sums = (
        ClosedLoopReplay(prepare(MemorySource(trace), settings, [Deployment(StairLatency())])).run()[0].sums
    )
    tokens, steps = sums.emitted_tokens, sums.sequence_steps
    expected = closed_form(alpha, gamma)
    error = np.sqrt(((tokens - expected * steps) ** 2).sum()) / steps.sum()
    # a request begins in PRE, and its end cuts the last run: less than a step of all that it takes
    edge = 2 * expected / np.median(steps)
    assert tokens.sum() / steps.sum() == pytest.approx(expected, abs=3 * error + 0.2 * edge)
    assert error < 0.02 * expected


def prepared(trace, texts, batch_sizes=(1, 6), latency=None, **settings):
    methods = tuple(map(parse_method, texts))
    run = RunSettings(methods, batch_sizes, **settings)
    return prepare(MemorySource(trace), run, [Deployment(latency or StairLatency())])


WAYS = [
    {},
    {"refill": "static"},
    {"batch_of": "copies"},
    {"batch_of": "copies", "refill": "static"},
    {"prefill": "include"},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("pad", [1, 8])
def test_the_analytic_model_agrees(way, pad):
    trace = independent_trace(200, 2, seed=4, heterogeneous=True, chains="coherent", output_tokens=(60, 200))
    run = prepared(
        trace, ["pearl", "pearl:gamma=3,sync_s=0.002", "pearl:gamma=9"], (1, 5, 20), StairLatency(pad), **way
    )
    for mine, other in zip(AnalyticModel(run).run(), ClosedLoopReplay(run).run(), strict=True):
        rates = [r.sums.emitted_tokens.sum() / r.sums.seconds.sum() for r in (mine, other)]
        # batches that drain: 200 requests make few, and which came together moves the replay itself
        few = way.get("refill") == "static" and way.get("batch_of") != "copies" and other.batch_size > 1
        assert rates[0] == pytest.approx(rates[1], rel=0.06 if few else 0.02), (mine.label, mine.batch_size)
        for name in ("accepted_tokens", "verified_tokens", "drafted_tokens"):
            counts = [getattr(r.sums, name).sum() / r.sums.sequence_steps.sum() for r in (mine, other)]
            assert counts[0] == pytest.approx(counts[1], rel=0.02)


def test_the_analytic_model_agrees_on_a_shipped_trace():
    words = ["traces/llama70b.parquet", "--method", "pearl", "--method", "pearl:gamma=5", "--batch", "1,32"]
    replayed, modelled = (svsim_json(command, *words)["rows"] for command in ("replay", "analytic"))
    for mine, other in zip(replayed, modelled, strict=True):
        assert other["goodput_tok_s"] == pytest.approx(mine["goodput_tok_s"], rel=0.02)
        for name in ("mean_acceptance_length", "mean_verification_length", "draft_acceptance_rate"):
            assert other[name] == pytest.approx(mine[name], rel=0.01)


def test_a_step_lasts_as_long_as_the_longer_side():
    """And the exchange; drafting shows only beyond the target's pass."""
    trace = independent_trace(40, 1, seed=2)
    for gamma, sync_s in ((2, 0.0), (40, 0.0), (40, 0.01)):
        run = prepared(trace, [f"pearl:gamma={gamma},sync_s={sync_s}"], (1,), StairLatency(1))
        sums = ClosedLoopReplay(run).run()[0].sums
        steps = sums.steps.sum()
        assert sums.overhead_s.sum() / steps == pytest.approx(1e-3 + sync_s)
        assert (sums.draft_s.sum() > 0) == (gamma == 40)
        if gamma == 40:  # 40 draft passes of 0.8 ms and more; the target's pass takes 10 to 12
            assert (sums.draft_s + sums.verify_s).sum() / steps == pytest.approx(
                40 * 0.08 * 10.04e-3, rel=0.01
            )


def test_gamma_is_the_ratio_of_the_two_passes():
    latency = StairLatency(pad=1)
    method, deployment = parse_method("pearl"), Deployment(latency)
    for n in (1, 8, 64):
        found = with_gamma(method, deployment, [n], 500.0).pipeline.gammas
        seconds = [10e-3 + 40e-6 * n + 1e-8 * 500 * n] * 2
        assert found == (round(seconds[0] / (0.08 * seconds[1])),)
    given = parse_method("pearl:gamma=7")
    assert with_gamma(given, deployment, [1], 500.0) is given
    assert with_gamma(parse_method("sd:k=3"), deployment, [1], 500.0).pipeline.is_parallel is False


class SlowDraft(StairLatency):
    def predict_s(self, shape):
        return super().predict_s(shape) * (100.0 if shape.role is Role.DRAFT else 1.0)


def test_gamma_is_one_at_least():
    assert with_gamma(parse_method("pearl"), Deployment(SlowDraft()), [4], 100.0).pipeline.gammas == (1,)


def test_a_chain_of_one_token_is_enough():
    """K = 1, and gamma as large as wanted; a deeper trace of the same first tokens says the same."""
    deep = independent_trace(40, 6, seed=9)
    flat = replace(
        deep,
        target=TargetColumns(np.minimum(deep.target.num_accepted, 1), deep.target.accept_prob[:, :1].copy()),
        metadata=replace(deep.metadata, num_speculative_tokens=1),
        observable=replace(deep.observable, signals={}),
    )
    sums = [ClosedLoopReplay(prepared(t, ["pearl:gamma=20"], (4,))).run()[0].sums for t in (deep, flat)]
    for name in sums[0].__dataclass_fields__:
        np.testing.assert_array_equal(getattr(sums[0], name), getattr(sums[1], name))


@pytest.mark.parametrize(
    ("chains", "greedy", "kind"),
    [
        ("coherent", False, "exact"),
        ("coherent", True, "exact"),
        ("independent", True, "exact"),
        ("independent", False, "approximate"),
    ],
)
def test_what_a_replay_claims(chains, greedy, kind):
    trace = independent_trace(40, 2, chains=chains, greedy=greedy)
    assert ClosedLoopReplay(prepared(trace, ["pearl"], (4,))).run()[0].replay_kind == kind


class OnePass(StairLatency):
    draft_is_one_pass = True


def test_it_drafts_with_a_model_pass_by_pass():
    trace = independent_trace(40, 2)
    with pytest.raises(LatencyError, match="drafts pass by pass"):
        prepared(trace, ["pearl"], latency=OnePass())
    method = parse_method("pearl")
    assert method.with_drafter(HeadDrafter(0.1)) is method
    for text, says in (("gamma=0", "from 1 to 255"), ("gamma=256", "from 1 to 255"), ("gamma=x", "not auto")):
        with pytest.raises(MethodError, match=says):
            parse_method(f"pearl:{text}")


MODELS = {
    "target": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
    "draft": {"name": "meta-llama/Llama-3.2-1B-Instruct"},
}


def test_both_groups_are_held_in_memory_and_paid_for(tmp_path):
    made = independent_trace(60, 1, seed=3, prompt_tokens=(1000, 3000))
    save_trace(replace(made, metadata=replace(made.metadata, models=MODELS)), tmp_path / "T.parquet")
    words = [
        "replay",
        tmp_path / "T.parquet",
        "--latency",
        "roofline",
        "--method",
        "pearl",
        "--method",
        "sd:k=1",
    ]

    def rows(*more):
        found = svsim_json(*words, "--batch", "1", *more)
        return {row["method"]: row for row in found["rows"]}, found["notes"]

    def dollars(row):
        return row["usd_per_million_tokens"] * row["goodput_tok_s"] * 3600 / 1e6

    here, notes = rows("--hardware", "h100_sxm:tp=4")
    assert dollars(here["pearl"]) == pytest.approx(1.25 * dollars(here["sd"]))  # a fifth GPU for the draft
    assert any(note.startswith("h100_sxm:tp=4, pearl: gamma by batch size:") for note in notes)
    wide, _ = rows("--hardware", "h100_sxm:tp=4,draft=sharded")
    assert dollars(wide["pearl"]) == pytest.approx(2 * dollars(wide["sd"]))
    apart, _ = rows("--hardware", "h100_sxm:tp=4", "--draft-hardware", "l40s")
    assert dollars(apart["pearl"]) == pytest.approx(dollars(apart["sd"]))  # both have the same two groups
    assert apart["pearl"]["hardware_options"] == "draft_hardware=l40s:tp=1"
    assert apart["pearl"]["goodput_tok_s"] != here["pearl"]["goodput_tok_s"]
    # a draft beside the target costs it room, one on its own devices does not
    large = ["--draft", "llama-3.1-8b", "--hardware", "h100_sxm:tp=2"]
    fits = {name: row["fits_memory"] for name, row in rows(*large)[0].items()}
    assert fits == {"pearl": True, "sd": False}
    huge = ["--draft", "llama-3.1-70b", "--hardware", "h100_sxm:tp=4"]
    assert not rows(*huge)[0]["pearl"]["fits_memory"]


def test_columns_mean_what_the_page_says(tmp_path):
    save_trace(
        independent_trace(80, 1, seed=6, accept_prob=0.8, output_tokens=(300, 400)), tmp_path / "T.parquet"
    )
    latency = tmp_path / "linear.json"
    latency.write_text(
        '{"kind": "linear", "overhead_per_step_s": 0, "draft_is_one_pass": false,'
        ' "target": {"fixed_s": 0.01, "per_new_token_s": 0, "per_kv_token_s": 0},'
        ' "draft": {"fixed_s": 0.002, "per_new_token_s": 0, "per_kv_token_s": 0}}'
    )
    words = ["--latency", latency, "--batch", "4", "--method", "pearl"]
    row = svsim_json("replay", tmp_path / "T.parquet", *words)["rows"][0]
    gamma, alpha = 5, 0.8  # five draft passes last as long as the target's
    post = alpha / (alpha + 1 - alpha**gamma)
    assert row["mean_verification_length"] == pytest.approx(1 - post + gamma * post, rel=0.03)
    assert row["mean_acceptance_length"] == pytest.approx(closed_form(alpha, gamma), rel=0.03)
    accepted = (1 - post) * alpha + post * alpha * (1 - alpha**gamma) / (1 - alpha)
    assert row["draft_acceptance_rate"] == pytest.approx(accepted / gamma, rel=0.04)
    assert row["verified_acceptance_rate"] == pytest.approx(accepted / (1 - post + gamma * post), rel=0.04)
    assert (row["step_time_s"], row["draft_time_s"]) == pytest.approx((0.01, 0.0), abs=1e-12)
    assert row["tpot_s"] == pytest.approx(0.01 / row["mean_acceptance_length"])
    per_step = row["num_emitted_tokens"] / row["num_steps"]
    assert per_step == pytest.approx(4 * row["mean_acceptance_length"], rel=1e-3)
