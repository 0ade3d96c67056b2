"""Panels of measured speculation: how they are read, and that the fit prices steps as the product does."""

import math

import engine_fit
import engine_terms
import pytest
from engine_panels import Cell, Measured, Setting, Speculation, read_cells
from support.shared_data import shared

from svsim.decoding.drafters import drafter_named
from svsim.decoding.presets import fixed_length, target_only
from svsim.engines.binding import Deployment
from svsim.latency.database import database_latency
from svsim.latency.engines.catalogue import engine_profile
from svsim.latency.engines.latency import EngineLatency
from svsim.latency.geometry import model_geometry
from svsim.latency.shape import Role, StepShape

TARGET = model_geometry("llama-3.1-8b")


def cell(kind, k, batch_size=8, basis="itl", prompts=0.0):
    setting = Setting(
        "panel", "family", "A", "vllm-0.20", "h100_sxm", 1, "llama-3.1-8b", None, None, None, "text",
        batch_size, 500, 200,
    )  # fmt: skip
    speculation = Speculation(kind, k, None, 2.5) if k else None
    return Cell(setting, speculation, Measured(basis, 0.01, prompts), None, "")


def constants():
    profile = engine_profile("vllm-0.20")
    return {name: profile.value(name) for name in engine_fit.NAMES}


def deployment():
    base = database_latency("h100_sxm", 1, TARGET, out_of_range="extrapolate")
    return Deployment(EngineLatency(base, engine_profile("vllm-0.20"), TARGET), target=TARGET)


@pytest.mark.parametrize("kind", ["eagle", "eagle3", "mtp"])
@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_a_speculative_step_of_the_fit_is_that_of_the_product(kind, batch_size):
    one, k = cell(kind, 4, batch_size), 4
    predicted_s = engine_fit.per_token_s(one, engine_terms.terms_of(one), constants()) * 2.5
    priced = deployment().priced(fixed_length(k).with_drafter(drafter_named(kind)))
    n, context = batch_size, one.setting.mean_context
    first_s = priced.draft_s(n, 2.5 * n, n * context)
    later_s = priced.draft_s(n, n, n * (context + k / 2))
    verify_s = priced.verify_s(n, n * (k + 1), n * context)
    step_s = priced.host.per_step_s + first_s + (k - 1) * later_s + verify_s
    assert predicted_s == pytest.approx(float(step_s), rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_target_only_step_of_the_fit_is_that_of_the_product(batch_size):
    one = cell("none", 0, batch_size)
    priced = deployment().priced(target_only())
    step_s = priced.host.per_step_s + priced.verify_s(batch_size, batch_size, batch_size * 600.0)
    assert engine_fit.per_token_s(one, engine_terms.terms_of(one), constants()) == pytest.approx(
        float(step_s)
    )


def test_prefills_beside_a_batch_are_those_of_the_product():
    one = cell("none", 0, 8, "throughput", prompts=8 / 200)
    without = cell("none", 0, 8)
    terms = engine_terms.terms_of(one)
    prompts_s = engine_fit.per_token_s(one, terms, constants()) - engine_fit.per_token_s(
        without, terms, constants()
    )
    each_s = deployment().prefill_s(target_only(), 1, 500, target_only=False, beside=True)
    assert prompts_s == pytest.approx(float(each_s) * 8 / 200)
    bare_s = float(deployment().latency.base.predict_s(StepShape(Role.TARGET, 1, 500, 0)))
    assert 0 < float(each_s) < bare_s * constants()["prefill"]


def test_a_fit_finds_constants_that_made_its_cells():
    truth = constants() | {
        "target_only_host_s": 0.6e-3,
        "speculative_host_s": 0.9e-3,
        "draft_pass_s": 0.25e-3,
    }
    made = []
    for kind, k in (("none", 0), ("eagle", 1), ("eagle", 3), ("eagle", 7), ("eagle3", 5)):
        for batch_size in (1, 8, 64):
            one = cell(kind, k, batch_size)
            terms = engine_terms.terms_of(one)
            seconds = engine_fit.per_token_s(one, terms, truth)
            made.append((Cell(one.setting, one.speculation, Measured("itl", seconds, 0.0), None, ""), terms))
    found = engine_fit.fit(made)
    errors = [
        math.log(engine_fit.per_token_s(c, t, found.of("vllm-0.20")) / c.measured.per_token_s)
        for c, t in made
    ]
    assert max(map(abs, errors)) < 0.03  # what the ridge takes


def test_panels_are_read_as_their_sources_say():
    cells = read_cells(shared("panels"))
    gsm8k = [
        c
        for c in cells
        if c.setting.panel == "vllm024-a100-eagle3-k5" and c.setting.dataset == "vllm024-gsm8k"
    ]
    (at_64,) = (c for c in gsm8k if c.speculation and c.setting.batch_size == 64)
    assert at_64.measured.basis == "throughput" and at_64.speedup == pytest.approx(2157.6 / 2229.5)
    (at_1,) = (c for c in gsm8k if c.speculation and c.setting.batch_size == 1)
    assert at_1.measured.basis == "itl" and at_1.step_s == pytest.approx(13.986e-3)
    assert at_1.speedup == pytest.approx(10.844 * 2.864 / 13.986)
    judging = [c for c in cells if not c.unusable and c.speedup]
    assert len(judging) > 350 and len({c.setting.family for c in judging}) >= 10
    assert not any(c.speculation and c.speculation.kind == "ngram" for c in judging)
    assert not any("inference-lab" in c.setting.panel for c in cells)
