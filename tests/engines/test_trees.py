"""Trees through the engines: the literal loop, prices pass by pass, the analytic model, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from support import reference_loop
from support.reference_loop import Server
from support.small_traces import StairLatency, independent_trace

import svsim
from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import parse_method
from svsim.decoding.trees import StaticTree, hits_of, ranks_ahead
from svsim.engines import admission
from svsim.engines.binding import Deployment, accepted_tokens
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import InputError, LatencyError, MethodError, MissingSignalError
from svsim.latency.geometry import model_geometry
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.random_streams import RandomStreams
from svsim.synthetic.method_columns import with_columns
from svsim.trace.parts import MemorySource

SEED = 3
TARGET, DRAFT = model_geometry("llama-3.1-8b"), model_geometry("llama-3.2-1b")
ON_GPU = RooflineLatency.of("h100_sxm", 1, TARGET, DRAFT)
BEAM = "eagle2:m=12,depth=3,beam=4,head_share=0.1"
# method -> what it is in the reference
KINDS = {
    "tree:m=12,depth=4": {},
    "medusa:m=12,head_share=0.1": {"drafter": "heads", "head_share": 0.1},
    "sequoia:m=8,depth=3": {},
    BEAM: {"head_share": 0.1},
    "eagle3:m=20,depth=7,beam=10,head_share=0.05": {"head_share": 0.05},
    "stree:scan_share=0.3": {"scan_share": 0.3},
    "longspec:shape=2/4/3,head_share=0.1": {"head_share": 0.1},
}


@pytest.fixture(scope="module")
def trace():
    plain = independent_trace(300, 4, seed=4, output_tokens=(40, 120))
    return with_columns(plain, ["paths:rank=.5"], 0)[0]


def prepared(trace, text, batch_size=4, latency=None, **options):
    settings = RunSettings((parse_method(text),), (batch_size,), seed=SEED, **options)
    return prepare(MemorySource(trace), settings, [Deployment(latency or StairLatency(pad=4))])


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("text", KINDS)
def test_the_loop_equals_the_literal_one(monkeypatch, trace, text, batch_size):
    """m + 1 tokens verified a sequence, whatever is accepted; a pass per level, one after another."""
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)
    few = trace.select(np.arange(40))
    run, latency = prepared(few, text, batch_size), StairLatency(pad=4)
    method, part, streams = run.methods[0], run.trace, RandomStreams(SEED)
    sums = ClosedLoopReplay(run).run()[0].sums
    accepted = accepted_tokens(method, part, run.settings.coins, 0).tolist()
    m = method.num_speculative_tokens
    widths = method.work().draft.widths
    kind = {"drafter": "head", "tree": widths, "accepted": accepted, **KINDS[text]}
    server = Server(m, lambda step: [m] * len(step.positions), **kind)
    warm_up = streams.generator("warm-up").permutation(part.num_requests)[: 2 * batch_size]
    order, after = (streams.generator("order", c, 0).permutation(part.num_requests) for c in (0, 1))
    totals = reference_loop.run(
        server, part, latency, [*warm_up, *order, *after],
        streams.generator("stagger").random(batch_size), 2 * batch_size, part.num_requests,
    )  # fmt: skip
    assert sums.emitted_tokens.sum() == totals.tokens
    assert sums.sequence_steps.sum() == totals.sequence_steps
    assert sums.accepted_tokens.sum() == totals.accepted
    assert sums.verified_tokens.sum() == totals.verified == m * totals.sequence_steps
    parts = sums.overhead_s, sums.draft_s, sums.companion_s, sums.verify_s, sums.prefill_s
    assert [part.sum() * batch_size for part in parts] == pytest.approx(totals.seconds, rel=1e-4)
    levels = len(widths) + 1 if "medusa" not in text else 4
    assert 1 < max(accepted) <= levels


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("way", [{}, {"refill": "static"}, {"batch_of": "copies", "prefill": "include"}])
def test_the_analytic_model_agrees(trace, text, way):
    options = {"methods": [text], "latency": ON_GPU, "batch_sizes": [1, 6], **way}
    replayed, analytic = svsim.replay(trace, **options), svsim.analytic(trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)
        assert mine.mean_acceptance_length == pytest.approx(theirs.mean_acceptance_length, rel=0.02)
        assert theirs.lossless


def test_a_tree_is_passes_level_by_level():
    """First the emitted tokens, then beam nodes a level, each behind those before."""
    n, kv, beam = 3, 3000, 10
    found = Deployment(ON_GPU, target=TARGET).priced(parse_method("eagle2:m=59,head_share=0.1"))
    one = [(2 * n, kv)] + [(n * beam, kv + n * (1 + j * beam)) for j in range(7)]
    by_hand = sum(0.1 * float(ON_GPU.predict_s(StepShape(Role.TARGET, n, new, seen))) for new, seen in one)
    assert float(found.first_draft_s(n, 2 * n, kv)) == pytest.approx(by_hand, rel=1e-12)
    assert float(found.verify_s(n, 60 * n, kv)) == float(
        ON_GPU.predict_s(StepShape(Role.TARGET, n, 60 * n, kv))
    )
    assert found.work.speculation.num_draft_passes == 8


def test_heads_cost_their_weights():
    work = parse_method("medusa").work(TARGET).draft
    head = TARGET.hidden_size * (TARGET.hidden_size + TARGET.vocabulary_size)
    assert work.share == pytest.approx(4 * head / TARGET.num_parameters) and work.num_passes(63) == 1
    with pytest.raises(LatencyError, match=r"medusa.*target's shape is not known"):
        Deployment(StairLatency()).check(parse_method("medusa"))


def test_the_drafters_own_ranking_is_taken_where_it_is_recorded_and_exact(trace):
    own, other = parse_method("eagle2:m=30,depth=7,beam=10"), parse_method("eagle2:m=30,depth=6,beam=10")
    run = prepared(trace, "eagle2:m=30,depth=7,beam=10,head_share=0.1")
    got = accepted_tokens(run.methods[0], run.trace, run.settings.coins, 0)
    assert np.array_equal(got, hits_of(run.trace.target.outcomes["tree_rank"], 30))
    rows = {
        text: svsim.replay(trace, methods=[text], latency=ON_GPU, batch_sizes=[2]).rows[0].replay_kind
        for text in (own.label, other.label, "tree:m=5", "longspec")
    }
    assert rows == {
        own.label: "exact",
        other.label: "approximate",
        "tree:m=5": "exact",
        "longspec": "approximate",
    }


def test_trees_grown_with_donors_are_as_long_as_the_recorded_ones(trace):
    """The recorded ranking of a synthetic trace was grown with donors of all requests: within 1 %."""
    without = dict(trace.target.outcomes)
    del without["tree_rank"]
    bare = replace(trace, target=replace(trace.target, outcomes=without))
    lengths = [
        svsim.replay(some, methods=["eagle2:m=30"], latency=ON_GPU, batch_sizes=[1])
        .rows[0]
        .mean_acceptance_length
        for some in (trace, bare)
    ]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.01) and lengths[0] > 1.5


def test_a_given_shape_is_replayed_and_one_of_its_size_that_is_fitted_is_no_worse(trace, tmp_path):
    file = tmp_path / "shape.json"
    file.write_text("[[1], [2], [1, 1], [1, 1, 1], [2, 1]]")
    run = prepared(trace, f"tree:shape={file}")
    method = run.methods[0]
    assert method.num_speculative_tokens == 5 and method.work().draft.widths == (2, 1)
    given = accepted_tokens(method, run.trace, run.settings.coins, 0)
    tree = StaticTree.parsed(file.read_text(), "shape")
    assert np.array_equal(given, tree.accepted(ranks_ahead(run.trace.target.outcomes["path_rank"], 3)))
    fitted = prepared(trace, "tree:m=5")
    assert (
        accepted_tokens(fitted.methods[0], fitted.trace, run.settings.coins, 0).mean() >= given.mean() - 0.02
    )
    for text, words in ((f"tree:shape={file},m=7", "has 5 nodes"), ("tree:shape=/no/such", "no such file")):
        with pytest.raises(MethodError, match=words):
            parse_method(text)


def test_a_tree_of_one_path_is_the_chain(trace, tmp_path):
    """Verified and accepted alike; the drafter reads what it drafted itself again."""
    file = tmp_path / "chain.json"
    file.write_text("[[1]]")
    rows = svsim.replay(trace, methods=[f"tree:shape={file}", "sd:k=1"], latency=ON_GPU, batch_sizes=[4]).rows
    assert rows[0].mean_acceptance_length == rows[1].mean_acceptance_length
    assert rows[0].verify_time_s == pytest.approx(rows[1].verify_time_s, rel=1e-9)


def test_another_drafter_drafts_the_same_tree():
    method = parse_method("tree:m=5").with_drafter(drafter_named("eagle3"))
    assert method.drafter.name == "eagle3" and method.work(TARGET).draft.is_head
    with pytest.raises(MethodError, match="level by level"):
        parse_method("tree:m=5").with_drafter(drafter_named("ngram"))


def test_refusals(trace):
    bare = replace(trace, target=replace(trace.target, outcomes={}))
    with pytest.raises(MissingSignalError, match=r"needs the column path_rank .*--also paths"):
        prepared(bare, "tree:m=5")
    with pytest.raises(InputError, match="top_logprob holds 16"):
        ClosedLoopReplay(prepared(trace, "longspec:shape=4/17,head_share=0.1")).run()
    with pytest.raises(MethodError, match="has 30 candidates"):
        parse_method("eagle2:m=31,depth=1,beam=5")
    with pytest.raises(MethodError, match="nodes in all levels"):
        parse_method("longspec:shape=200/100")
    with pytest.raises(InputError, match="profile split of 0"):
        prepared(trace, "tree:m=5", profile_split=0.0)
