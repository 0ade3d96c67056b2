"""One contract for every drafter: its work is what replay, analytic model, copies and prefill price."""

from dataclasses import replace

import numpy as np
import pytest
from support.small_traces import StairLatency, independent_trace, with_draft_signals

import svsim
from svsim.decoding.drafters import (
    DRAFTER_NAMES,
    MODEL,
    EarlyExitDrafter,
    HeadDrafter,
    ShapedHeadDrafter,
    drafter_named,
)
from svsim.decoding.presets import parse_method
from svsim.decoding.work import Reading, Schedule
from svsim.engines import admission
from svsim.engines.binding import Deployment
from svsim.engines.replay import ClosedLoopReplay
from svsim.engines.settings import RunSettings, prepare
from svsim.errors import LatencyError, MethodError
from svsim.latency.draft_heads import draft_head
from svsim.latency.geometry import model_geometry
from svsim.latency.head_shape import HeadKind
from svsim.latency.host import HostTime
from svsim.latency.linear import LinearLatency
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.metrics.agreement import compare
from svsim.trace.parts import MemorySource

K = 4
TARGET = model_geometry("llama-3.1-8b")
SMALL = model_geometry("llama-3.2-1b")
DRAFTERS = {name: drafter_named(name) for name in DRAFTER_NAMES if name != "none"} | {
    "head by share": HeadDrafter(0.07),
    "early exit": EarlyExitDrafter(0.25),
}
WITH_PASSES = [name for name in DRAFTERS if name != "ngram"]
ON_GPU = RooflineLatency.of("h100_sxm", 1, TARGET, SMALL, SMALL)
STAIRS = StairLatency(pad=4)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr(admission, "MIN_POSITIONS", 1)


@pytest.fixture(scope="module")
def trace():
    return with_draft_signals(independent_trace(60, K, seed=8))


@pytest.fixture(scope="module")
def long_trace():
    return with_draft_signals(independent_trace(400, K, seed=3, output_tokens=(60, 140)))


def sums(trace, name, text="sd:k=4", latency=STAIRS, batch_size=6, **settings):
    run = RunSettings((parse_method(text).with_drafter(DRAFTERS[name]),), (batch_size,), seed=2, **settings)
    deployment = Deployment(latency, target=TARGET)
    return ClosedLoopReplay(prepare(MemorySource(trace), run, [deployment])).run()[0].sums


@pytest.mark.parametrize("name", DRAFTERS)
def test_a_drafter_is_a_value(name):
    """It can be compared, hashed and told in a line; its work depends on the target's shape alone."""
    drafter = DRAFTERS[name]
    assert drafter == DRAFTERS[name] and hash(drafter) == hash(DRAFTERS[name])
    assert drafter.name and drafter.summary and "\n" not in drafter.summary
    for target in (None, TARGET):
        work = drafter.work(target)
        assert work == drafter.work(target)
        assert 0.0 < work.share <= 1.0 and 0.0 < work.layer_share <= 1.0 and 0.0 < work.fallback_share <= 1.0
        assert work.has_passes == (name != "ngram") and work.on_host == (name == "ngram")


def test_every_name_is_a_drafter():
    assert DRAFTER_NAMES == ("model", "eagle", "eagle3", "mtp", "dflash", "peagle", "ngram", "none")
    for name in DRAFTER_NAMES:
        assert drafter_named(name).name == name
    with pytest.raises(MethodError, match="expected 0 < share < 1"):
        EarlyExitDrafter(1.0)


@pytest.mark.parametrize(
    ("name", "passes", "tokens", "is_model"),
    [
        ("model", 4, 1, True),
        ("eagle", 4, 1, False),
        ("mtp", 4, 1, False),
        ("dflash", 1, 4, False),
        ("peagle", 1, 4, False),
        ("ngram", 0, 0, False),
        ("early exit", 4, 1, False),
    ],
)
def test_what_host_time_is_told(name, passes, tokens, is_model):
    said = parse_method("sv:k=4").with_drafter(DRAFTERS[name]).work().speculation
    assert (said.num_draft_passes, said.num_tokens_per_draft_pass) == (passes, tokens)
    assert (said.runs_draft_model, said.drafts_on_host) == (is_model, name == "ngram")
    assert said.runs_companion and said.num_speculative_tokens == 4
    nothing = parse_method("td").work().speculation
    assert not nothing.num_draft_passes and not nothing.runs_companion and not nothing.drafts_on_host


@pytest.mark.parametrize("name", DRAFTERS)
def test_the_tokens_are_the_traces_whoever_drafts(trace, name):
    """Of fixed lengths; only seconds tell drafters apart, and drafting seconds stand where passes run."""
    mine, models = sums(trace, name), sums(trace, "model")
    for column in ("emitted_tokens", "accepted_tokens", "verified_tokens", "drafted_tokens"):
        np.testing.assert_array_equal(getattr(mine, column), getattr(models, column))
    assert (mine.draft_s.sum() > 0) == (name != "ngram")
    if name != "early exit":
        np.testing.assert_array_equal(mine.verify_s, models.verify_s)
    else:
        assert mine.verify_s.sum() < models.verify_s.sum()


@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("text", ["sd:k=4", "sv:k=4", "svip:k=4", "smartspec:k=4", "oracle:k=4,draft=exact"])
def test_the_analytic_model_prices_the_same_work(long_trace, name, text):
    """Beside the replay: goodput within 2 %, drafting seconds within 5 (controllers waver)."""
    method = parse_method(text).with_drafter(DRAFTERS[name])
    options = {"latency": ON_GPU, "methods": [method], "batch_sizes": [1, 12], "seed": 1}
    replayed, analytic = svsim.replay(long_trace, **options), svsim.analytic(long_trace, **options)
    for mine, theirs in zip(analytic.rows, replayed.rows, strict=True):
        assert mine.goodput_tok_s == pytest.approx(theirs.goodput_tok_s, rel=0.02)
        assert mine.draft_time_s == pytest.approx(theirs.draft_time_s, rel=0.05)


@pytest.mark.parametrize("refill", ["continuous", "static"])
@pytest.mark.parametrize("name", DRAFTERS)
def test_copies_that_do_everything_alike_are_exact(trace, name, refill):
    methods = [
        parse_method(text).with_drafter(DRAFTERS[name]) for text in ("sd:k=4", "oracle:k=4,draft=exact")
    ]
    options = {"latency": STAIRS, "methods": methods, "batch_sizes": (1, 3, 16), "batch_of": "copies"}
    options |= {"refill": refill, "prefill": "include"}
    found = compare(svsim.replay(trace, **options), svsim.analytic(trace, **options))
    # what a head reads again after steps without a draft may lie beyond its sheet
    limit = 1e-5 if DRAFTERS[name].work(None).reading is Reading.ALL else 1e-9
    assert max(abs(d.relative) for d in found) < limit


@pytest.mark.parametrize("name", DRAFTERS)
def test_prefill_is_that_of_every_model_that_runs(name):
    """The target's, the draft's or the head's, the companion's; early layers and n-grams have none."""
    method = parse_method("sv:k=4").with_drafter(DRAFTERS[name])
    deployment = Deployment(ON_GPU, target=TARGET)
    seconds = deployment.prefill_s(method, 2, 900, target_only=False)

    def of(latency, role):
        return float(latency.predict_s(StepShape(role, 2, 900, 0)))

    drafting = {"ngram": 0.0, "early exit": 0.0, "head by share": 0.07 * of(ON_GPU, Role.TARGET)}
    if name in set(HeadKind):
        head = draft_head(name, TARGET).geometry
        drafting[name] = of(RooflineLatency.of("h100_sxm", 1, TARGET, head), Role.DRAFT)
    expected = (
        of(ON_GPU, Role.TARGET) + drafting.get(name, of(ON_GPU, Role.DRAFT)) + of(ON_GPU, Role.COMPANION)
    )
    assert float(seconds) == pytest.approx(expected + ON_GPU.overhead_per_step_s)
    alone = deployment.prefill_s(method, 2, 900, target_only=True)
    assert float(alone) == pytest.approx(of(ON_GPU, Role.TARGET) + ON_GPU.overhead_per_step_s)


@pytest.mark.parametrize("kind", list(HeadKind))
def test_a_head_is_priced_by_its_own_shape_where_the_gpu_is_known(kind):
    """As a roofline that was given the head for a draft model; other passes are the source's."""
    method = parse_method("sd:k=4").with_drafter(ShapedHeadDrafter(kind))
    priced = Deployment(ON_GPU, target=TARGET).priced(method)
    head = draft_head(kind, TARGET).geometry
    itself = RooflineLatency.of("h100_sxm", 1, TARGET, head)
    for n in (1, 16):
        shape = StepShape(Role.DRAFT, n, 4 * n, 500 * n)
        assert float(priced.draft_s(n, 4 * n, 500 * n)) == float(itself.predict_s(shape))
        assert float(priced.verify_s(n, 5 * n, 500 * n)) == float(
            ON_GPU.predict_s(StepShape(Role.TARGET, n, 5 * n, 500 * n))
        )
    assert priced.work.draft.schedule is (Schedule.BLOCK if kind.is_one_pass else Schedule.SEQUENTIAL)


EAGLE = parse_method("eagle").drafter
LINE = {"fixed_s": 1e-3, "per_new_token_s": 1e-5, "per_kv_token_s": 0.0}
FILE = {"kind": "linear", "target": LINE, "draft": LINE | {"fixed_s": 3e-4}, "overhead_per_step_s": 0.0}


@pytest.mark.parametrize(
    ("file", "drafter", "target", "schedule", "role", "share"),
    [
        # the file says what drafting costs, whoever drafts
        ({"draft_is_one_pass": True}, MODEL, None, Schedule.BLOCK, Role.DRAFT, 1.0),
        ({"draft_is_one_pass": True}, drafter_named("eagle3"), TARGET, Schedule.BLOCK, Role.DRAFT, 1.0),
        ({"draft_is_one_pass": False}, drafter_named("eagle3"), None, Schedule.SEQUENTIAL, Role.DRAFT, 1.0),
        # it has no draft pass: a share of the target's, by weights where they are known
        ({"draft": None}, drafter_named("eagle"), None, Schedule.SEQUENTIAL, Role.TARGET, 0.1),
        (
            {"draft": None},
            drafter_named("eagle"),
            TARGET,
            Schedule.SEQUENTIAL,
            Role.TARGET,
            draft_head("eagle", TARGET).share_of(TARGET),
        ),
        # eagle stands beside a draft model of the same file
        (
            {"draft_is_one_pass": True},
            parse_method("eagle").drafter,
            None,
            Schedule.SEQUENTIAL,
            Role.TARGET,
            0.1,
        ),
        ({"draft_is_one_pass": True}, drafter_named("ngram"), None, Schedule.NONE, Role.DRAFT, 1.0),
        ({"draft_is_one_pass": True}, EarlyExitDrafter(0.5), None, Schedule.SEQUENTIAL, Role.TARGET, 1.0),
    ],
)
def test_a_linear_file_says_what_drafting_costs(file, drafter, target, schedule, role, share):
    told = {key: value for key, value in (FILE | file).items() if value is not None}
    deployment = Deployment(LinearLatency.from_json(told, "file"), target=target)
    method = parse_method("sd:k=4").with_drafter(drafter)
    deployment.check(method)
    draft = deployment.priced(method).work.draft
    assert (draft.schedule, draft.role, draft.share) == (schedule, role, pytest.approx(share))


def test_a_model_without_step_times_is_named():
    """The negative control: the drafter that needs them is the draft model alone."""
    latency = LinearLatency.from_json({k: v for k, v in FILE.items() if k != "draft"}, "file")
    for name, drafter in DRAFTERS.items():
        deployment = Deployment(latency, target=TARGET)
        method = parse_method("sd:k=4").with_drafter(drafter)
        if name == "model":
            with pytest.raises(LatencyError, match="sd:k=4 runs the draft model"):
                deployment.check(method)
        else:
            deployment.check(method)


@pytest.mark.parametrize("name", WITH_PASSES)
def test_dearer_draft_passes_lengthen_drafting_alone(trace, name):
    class Dearer(StairLatency):
        def predict_s(self, shape):
            return super().predict_s(shape) * (1.5 if shape.role is Role.DRAFT else 1.0)

    cheap, dear = sums(trace, name), sums(trace, name, latency=Dearer(pad=4))
    is_its_own = DRAFTERS[name].work(None).role is Role.DRAFT
    assert dear.draft_s.sum() == pytest.approx(cheap.draft_s.sum() * (1.5 if is_its_own else 1.0))
    np.testing.assert_array_equal(dear.verify_s, cheap.verify_s)


def test_heads_read_every_emitted_token_again():
    assert {name: DRAFTERS[name].work(None).reading for name in WITH_PASSES} == {
        "model": Reading.UNSEEN,
        "eagle": Reading.ALL,
        "eagle3": Reading.ALL,
        "mtp": Reading.ALL,
        "dflash": Reading.ALL,
        "peagle": Reading.ALL,
        "head by share": Reading.ALL,
        "early exit": Reading.LAST,
    }


def test_a_deployment_prices_heads_for_its_own_target():
    """Also one made from another: nothing that was priced there is taken over."""
    method = parse_method("sd:k=4").with_drafter(DRAFTERS["eagle3"])
    small = Deployment(ON_GPU, target=SMALL)
    of_small = float(small.priced(method).draft_s(4, 4, 400))
    large = replace(small, target=TARGET)
    assert float(large.priced(method).draft_s(4, 4, 400)) > of_small
    assert small.priced(method) is small.priced(method)
    assert large == Deployment(ON_GPU, target=TARGET)


def test_host_time_and_mixed_passes_are_those_beneath_a_head():
    class Hosted(RooflineLatency):
        def host_time(self, speculation):
            return HostTime(7e-3, 0.0, 1e-4 * speculation.num_draft_passes)

    base = Hosted(ON_GPU.gpu, ON_GPU.models)
    priced = Deployment(base, target=TARGET).priced(parse_method("sd:k=4").with_drafter(DRAFTERS["eagle3"]))
    assert priced.host == HostTime(7e-3, 0.0, 4e-4)
    head = RooflineLatency.of("h100_sxm", 1, TARGET, draft_head("eagle3", TARGET).geometry)
    assert float(priced.draft_s(8, 8, 900)) == pytest.approx(
        float(head.predict_s(StepShape(Role.DRAFT, 8, 8, 900))) + 4e-4
    )
    for role, itself in ((Role.TARGET, ON_GPU), (Role.DRAFT, head)):
        shape = StepShape(role, 8, 16, 900)
        mixed = priced.latency.predict_mixed_s(shape, [300], [0])
        np.testing.assert_array_equal(mixed, itself.predict_mixed_s(shape, [300], [0]))
        np.testing.assert_array_equal(priced.latency.attention_s(shape), itself.attention_s(shape))
