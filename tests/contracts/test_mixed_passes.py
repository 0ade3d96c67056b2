"""One contract for every model that prices decoding and chunks together: its laws, and its sheet."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from svsim.engines.mixed_price import mixed_pass_s
from svsim.errors import LatencyError, OutOfRangeError
from svsim.latency.data_parallel import DataParallelLatency
from svsim.latency.database import database_latency
from svsim.latency.geometry import model_geometry
from svsim.latency.linear import LinearLatency
from svsim.latency.measured import MeasuredLatency
from svsim.latency.mixed_pass import MixedLatencyModel
from svsim.latency.mixed_sheet import lay_out_mixed
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape
from svsim.latency.sliding_window import WindowedLayers
from tests.contracts.test_latency_models import MODELS as SINGLE_PASSES

Floats = NDArray[np.float64]
NUM_CASES, NUM_CHUNKS = 400, 4
WINDOWED = replace(model_geometry("llama-3.1-8b"), window=WindowedLayers(20, 512, num_kv_heads=16))


def latent_roofline() -> MixedLatencyModel:
    return RooflineLatency.of("h200_sxm", 8, model_geometry("deepseek-v3"))


def hybrid(source: str) -> Callable[[], MixedLatencyModel]:
    def model() -> MixedLatencyModel:
        target = model_geometry("qwen3.5-35b-a3b")
        if source == "roofline":
            return RooflineLatency.of("h100_sxm", 2, target)
        return database_latency("h100_sxm", 2, target, out_of_range="extrapolate")

    return model


def windowed_roofline() -> MixedLatencyModel:
    return RooflineLatency.of("h100_sxm", 1, WINDOWED)


def clipped() -> MixedLatencyModel:
    model = SINGLE_PASSES["calibrated h100_sxm"]()
    assert isinstance(model, MeasuredLatency)
    return replace(model, out_of_range="clip")


MODELS: dict[str, Callable[[], MixedLatencyModel]] = {
    **SINGLE_PASSES,  # type: ignore[dict-item]
    "latent roofline": latent_roofline,
    "hybrid roofline": hybrid("roofline"),
    "hybrid database": hybrid("database"),
    "windowed roofline": windowed_roofline,
    "clipped": clipped,
}
# Fewer states are written by a prompt than by a verification of 32 tokens: see ``recurrence_s``.
STEPS_DOWN = {"hybrid roofline": 0.1}


@pytest.fixture(scope="module", params=MODELS)
def named(request: pytest.FixtureRequest) -> tuple[str, MixedLatencyModel]:
    return request.param, MODELS[request.param]()


@pytest.fixture(scope="module")
def model(named: tuple[str, MixedLatencyModel]) -> MixedLatencyModel:
    return named[1]


class Cases:
    """Random decode groups [N] beside up to four chunks [N, 4], some of them empty."""

    def __init__(self, seed: int, role: Role = Role.TARGET) -> None:
        rng = np.random.default_rng(seed)
        self.role = role
        self.sequences = rng.integers(1, 200, NUM_CASES)
        self.tokens = self.sequences * rng.integers(1, 9, NUM_CASES)
        self.kv = self.sequences * rng.integers(0, 6000, NUM_CASES)
        sizes = rng.choice([0, 0, 1, 17, 33, 100, 512, 1300], (NUM_CASES, NUM_CHUNKS))
        self.chunk_tokens = sizes + rng.integers(0, 16, sizes.shape) * (sizes > 0)
        self.chunk_kv = rng.choice([0, 0, 500, 4000, 9000], sizes.shape)

    def decode(self, **said: object) -> StepShape:
        return StepShape(self.role, self.sequences, self.tokens, self.kv, **said)  # type: ignore[arg-type]

    def parts_s(self, model: MixedLatencyModel) -> Floats:
        """The group and each chunk as passes of their own, [N, 5]."""
        alone = model.predict_s(self.decode())
        chunks = model.predict_s(StepShape(self.role, 1, np.maximum(self.chunk_tokens, 1), self.chunk_kv))
        return np.concatenate([alone[:, None], np.where(self.chunk_tokens > 0, chunks, 0.0)], axis=1)


def test_it_is_one_of_them(model: MixedLatencyModel) -> None:
    assert isinstance(model, MixedLatencyModel)


@pytest.mark.parametrize("said", [{}, {"num_logit_tokens": 40}, {"layer_share": 0.3}])
def test_without_chunks_it_is_the_rest(model: MixedLatencyModel, said: dict[str, float]) -> None:
    cases = Cases(1)
    for chunks in (np.zeros(0), np.zeros((NUM_CASES, 3))):
        mixed = model.predict_mixed_s(cases.decode(**said), chunks, 0)
        np.testing.assert_allclose(mixed, model.predict_s(cases.decode(**said)), rtol=1e-12)


@pytest.mark.parametrize("rows", [None, 0, 1])
def test_one_chunk_alone_is_a_prompt(model: MixedLatencyModel, rows: int | None) -> None:
    tokens, kv = np.array([1.0, 8, 40, 300, 2048, 8000]), np.array([0.0, 700, 12_000])[:, None]
    for role in model.roles:
        mixed = model.predict_mixed_s(
            StepShape(role, 0, 0, 0, num_logit_tokens=rows), tokens[:, None], kv[..., None]
        )
        alone = model.predict_s(StepShape(role, 1, tokens, kv, num_logit_tokens=rows))
        np.testing.assert_allclose(mixed, alone, rtol=1e-9)


def test_between_the_longest_part_and_all_of_them(named: tuple[str, MixedLatencyModel]) -> None:
    name, model = named
    for seed, role in enumerate(sorted(model.roles)):
        cases = Cases(seed, role)
        mixed, parts = (
            model.predict_mixed_s(cases.decode(), cases.chunk_tokens, cases.chunk_kv),
            cases.parts_s(model),
        )
        assert (mixed >= parts.max(1) * (1 - 1e-12)).all()
        assert (mixed <= parts.sum(1) * (1 + 1e-12)).all()
        if name not in ("linear", "measured from noise"):
            # and it is worth something: weights are read once
            shares = (cases.chunk_tokens > 0).any(1) & (cases.tokens < 64)
            assert (mixed[shares] < 0.97 * parts[shares].sum(1)).all()


def test_more_work_never_costs_less(named: tuple[str, MixedLatencyModel]) -> None:
    name, model = named
    cases, slack = Cases(7), STEPS_DOWN.get(name, 1e-12)
    base = model.predict_mixed_s(cases.decode(), cases.chunk_tokens, cases.chunk_kv)
    is_chunk = cases.chunk_tokens > 0
    wider = [
        (StepShape(Role.TARGET, cases.sequences, cases.tokens + more, cases.kv), 0, 0) for more in (1, 7, 60)
    ]
    wider += [(StepShape(Role.TARGET, cases.sequences, cases.tokens, cases.kv + 5000), 0, 0)]
    wider += [(cases.decode(), more * is_chunk, 0) for more in (1, 9, 300)]
    wider += [(cases.decode(), 0, 800 * is_chunk), (cases.decode(), 64 * ~is_chunk, 0)]
    for decode, tokens, kv in wider:
        more_s = model.predict_mixed_s(decode, cases.chunk_tokens + tokens, cases.chunk_kv + kv)
        assert (more_s >= base * (1 - slack)).all()


def test_contexts_are_charged_where_they_lie(model: MixedLatencyModel) -> None:
    """KV behind a chunk costs by its tokens, which the pooled shape of a pass cannot say."""
    decode = StepShape(Role.TARGET, 32, 192, 32_000)
    empty, deep = model.predict_mixed_s(decode, [2048], np.array([[0], [6000]]))
    alone = model.predict_s(StepShape(Role.TARGET, 1, 2048, np.array([0, 6000])))
    assert deep - empty == pytest.approx(alone[1] - alone[0], rel=1e-6, abs=1e-9)


def test_attention_is_what_changes_with_contexts(model: MixedLatencyModel) -> None:
    kv = np.linspace(0, 8000, 50)
    for role in model.roles:
        for sequences, queries in ((1, 1), (16, 6), (64, 1), (2, 600)):
            shape = StepShape(role, sequences, sequences * queries, sequences * kv, 0.5)
            attention, whole = model.attention_s(shape), model.predict_s(shape)
            assert (attention >= 0).all() and (np.diff(attention) >= -1e-12).all()
            np.testing.assert_allclose(whole - attention, (whole - attention)[0], rtol=1e-9, atol=1e-12)


def test_a_compiled_loop_prices_the_same(model: MixedLatencyModel) -> None:
    base = model.base if isinstance(model, DataParallelLatency) else model
    assert isinstance(base, MixedLatencyModel)
    for role in sorted(base.roles):
        cases = Cases(3, role)
        sheet = lay_out_mixed(base, role, 8192, 256, 12_000, layer_share=0.7)
        rows = np.where(np.arange(NUM_CASES) % 2, -1, cases.tokens + 1)
        for group in (1, 0):  # with and without decoding sequences
            for logits in (None, rows):
                said = {} if logits is None else {"num_logit_tokens": cases.tokens + 1}
                decode = StepShape(
                    role, group * cases.sequences, group * cases.tokens, group * cases.kv, 0.7, **said
                )
                expected = base.predict_mixed_s(decode, cases.chunk_tokens, cases.chunk_kv)
                given = cases.tokens + 1 if said else np.full(NUM_CASES, -1)
                found = [
                    mixed_pass_s(
                        sheet,
                        group * int(cases.sequences[i]),
                        group * int(cases.tokens[i]),
                        float(group * cases.kv[i]),
                        int(given[i]),
                        cases.chunk_tokens[i].astype(np.int64),
                        cases.chunk_kv[i].astype(np.float64),
                    )
                    for i in range(NUM_CASES)
                ]
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("decode", "tokens", "kv", "message"),
    [
        ((1, 1, 1), [-1], 0, "chunk_tokens = -1"),
        ((1, 1, 1), [1], [np.nan], "chunk_kv = nan"),
        ((1, 1, 1), [np.inf], 0, "chunk_tokens = inf"),
        ((0, 1, 0), [1], 0, "0 sequences with tokens"),
        ((-1, 1, 0), [1], 0, "num_sequences = -1"),
        ((np.ones(3), 1, 1), np.ones((2, 1)), 0, "do not broadcast"),
    ],
)
def test_impossible_mixtures_are_refused(
    model: MixedLatencyModel, decode: tuple[float, float, float], tokens: object, kv: object, message: str
) -> None:
    with pytest.raises(LatencyError, match=message):
        model.predict_mixed_s(StepShape(Role.TARGET, *decode), tokens, kv)  # type: ignore[arg-type]


def test_outside_the_range_the_choice_holds() -> None:
    model = SINGLE_PASSES["calibrated h100_sxm"]()
    assert isinstance(model, MeasuredLatency)
    decode = StepShape(Role.TARGET, 32, 192, 32_000)
    with pytest.raises(OutOfRangeError, match="num_new_tokens = 8392"):
        model.predict_mixed_s(decode, [8200], [0])
    with pytest.raises(OutOfRangeError, match="mean_context = 40000"):
        model.predict_mixed_s(decode, [100], [40_000])
    with pytest.raises(OutOfRangeError, match="num_new_tokens = 16384"):
        lay_out_mixed(model, Role.TARGET, 16_384, 256, 32_000)
    extended = replace(model, out_of_range="extrapolate")
    assert len(lay_out_mixed(extended, Role.TARGET, 16_384, 256, 32_000).token_s) == 16_385
    assert extended.predict_mixed_s(decode, [8200], [0]) > model.predict_mixed_s(decode, [8000], [0])
    with pytest.raises(LatencyError, match="max_tokens = 0"):
        lay_out_mixed(model, Role.TARGET, 0, 256, 100)


def test_linear_by_hand() -> None:
    line = {"fixed_s": 1e-2, "per_new_token_s": 2e-5, "per_kv_token_s": 4e-8}
    model = LinearLatency.from_json({"kind": "linear", "target": line, "overhead_per_step_s": 0}, "x")
    mixed = model.predict_mixed_s(StepShape(Role.TARGET, 4, 12, 4000), [256, 0, 30], [0, 9, 1000])
    assert mixed == pytest.approx(1e-2 + 298 * 2e-5 + 5000 * 4e-8)
    assert model.predict_mixed_s(StepShape(Role.TARGET, 0, 0, 0), [0], [5]) == 0.0


def test_a_replicated_model_takes_its_part_of_the_chunks() -> None:
    model = SINGLE_PASSES["data parallel"]()
    assert isinstance(model, DataParallelLatency) and isinstance(model.base, MixedLatencyModel)
    two = model.predict_mixed_s(StepShape(Role.DRAFT, 8, 8, 8000), [512, 600], [0, 0])
    one = model.base.predict_mixed_s(StepShape(Role.DRAFT, 4, 4, 4000), [600], [0])
    assert two == one
