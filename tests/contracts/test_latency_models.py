"""One contract for every latency model: shapes, bounds, monotonicity, ranges, determinism."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from svsim.errors import LatencyError, OutOfRangeError
from svsim.latency.data_parallel import DataParallelLatency
from svsim.latency.database import database_latency
from svsim.latency.geometry import model_geometry
from svsim.latency.linear import LinearLatency
from svsim.latency.measured import MeasuredLatency
from svsim.latency.model import LatencyModel
from svsim.latency.price_table import lay_out
from svsim.latency.roofline import RooflineLatency
from svsim.latency.shape import Role, StepShape

Floats = NDArray[np.float64]
CALIBRATION = Path(__file__).parents[2] / "calibration"


def linear() -> LatencyModel:
    line = {"fixed_s": 1e-2, "per_new_token_s": 2e-5, "per_kv_token_s": 4e-8}
    return LinearLatency.from_json(
        {
            "kind": "linear",
            "target": line,
            "draft": line,
            "overhead_per_step_s": 1e-3,
            "draft_is_one_pass": True,
        },
        "linear_gpu",
    )


def roofline() -> LatencyModel:
    names = ("llama-3.1-8b", "llama-3.2-1b", "llama-3.2-3b")
    return RooflineLatency.of("h100_sxm", 2, *(model_geometry(name) for name in names))


def data_parallel() -> LatencyModel:
    return DataParallelLatency(roofline(), {Role.DRAFT: 2, Role.COMPANION: 2})


def roofline_of_a_mixture() -> LatencyModel:
    return RooflineLatency.of("mi300x", 1, model_geometry("qwen3-30b-a3b"))


def calibrated(hardware: str) -> Callable[[], LatencyModel]:
    def model() -> LatencyModel:
        return MeasuredLatency.from_file(CALIBRATION / "llama70b_step_times.parquet", hardware)

    return model


def measured_from_noise() -> LatencyModel:
    """Rows that are not monotone at all: the model must be, whatever it was fitted to."""
    rng = np.random.default_rng(5)
    num = 300
    sequences = rng.integers(1, 65, num)
    columns = {
        "role": np.repeat(["target", "draft", "companion"], num // 3),
        "hardware": np.full(num, "noise_gpu"),
        "tensor_parallel": np.ones(num, np.int32),
        "num_sequences": sequences,
        "num_new_tokens": sequences * rng.integers(1, 40, num),
        "num_kv_tokens": sequences * rng.integers(0, 4000, num),
        "seconds": rng.uniform(1e-3, 1e-2, num),
    }
    return MeasuredLatency.from_step_times(columns, out_of_range="extrapolate")


def database() -> LatencyModel:
    """From the shipped kernel times alone."""
    return database_latency(
        "h100_sxm",
        2,
        model_geometry("llama-3.1-8b"),
        model_geometry("llama-3.2-1b"),
        out_of_range="extrapolate",
    )


MODELS: dict[str, Callable[[], LatencyModel]] = {
    "linear": linear,
    "roofline": roofline,
    "data parallel": data_parallel,
    "roofline of a mixture": roofline_of_a_mixture,
    "database": database,
    "calibrated h100_sxm": calibrated("h100_sxm"),
    "calibrated h200_sxm": calibrated("h200_sxm"),
    "calibrated a100_sxm": calibrated("a100_sxm"),
    "measured from noise": measured_from_noise,
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> LatencyModel:
    return MODELS[request.param]()


def test_it_says_what_it_is(model: LatencyModel) -> None:
    assert isinstance(model, LatencyModel)
    assert model.hardware and model.source
    assert Role.TARGET in model.roles
    assert model.out_of_range in {"raise", "clip", "extrapolate"}
    assert 0 <= model.overhead_per_step_s < 0.1
    assert isinstance(model.draft_is_one_pass, bool)


def test_shapes_broadcast(model: LatencyModel) -> None:
    for role in model.roles:
        table = model.predict_s(StepShape(role, 8, [8, 16, 72], np.array([[800], [8000]])))
        assert (table.shape, table.dtype) == ((2, 3), np.float64)
        column = model.predict_s(StepShape(role, [8], [16], [8000]))
        np.testing.assert_array_equal(table[1, 1], column[0])
        assert model.predict_s(StepShape(role, np.full(4, 8), 8, 800)).shape == (4,)
        assert model.predict_s(StepShape(role, 8, 8, 800)).shape == ()


def test_a_share_of_the_layers_with_its_own_head(model: LatencyModel) -> None:
    """share * (T - T_head) + T_head(logit tokens); share * T where the head is not told apart."""
    assert isinstance(model.separates_head, bool)
    tokens = np.array([8.0, 40.0, 512.0])

    def seconds(role: Role, share: float = 1.0, logit_tokens: ArrayLike | None = None) -> Floats:
        return model.predict_s(StepShape(role, 8, tokens, 8 * 700, share, logit_tokens))

    for role in model.roles:
        whole, none = seconds(role), seconds(role, logit_tokens=0)
        np.testing.assert_allclose(seconds(role, 0.25, 0), 0.25 * none, rtol=1e-12)
        np.testing.assert_array_equal(seconds(role, np.array([[1.0], [0.5]]))[0], whole)
        if not model.separates_head:
            np.testing.assert_array_equal(none, whole)
            continue
        assert (none < whole).all()
        np.testing.assert_allclose(seconds(role, 0.25), 0.25 * none + (whole - none), rtol=1e-9)
        heads = seconds(role, 0.0, tokens) / (whole - none)
        assert (heads >= 0.999).all()
        if role is not Role.DRAFT:  # whose head has one row per sequence, as a prompt's
            np.testing.assert_allclose(heads[:2], 1.0)
        assert (np.diff([seconds(role, 0.5, n) for n in (0, 1, 8, 40, 300)], axis=0) >= 0).all()


@pytest.mark.parametrize("wrong", [{"layer_share": 1.5}, {"layer_share": np.nan}, {"num_logit_tokens": -1}])
def test_impossible_shares_are_refused(model: LatencyModel, wrong: dict[str, float]) -> None:
    with pytest.raises(LatencyError, match=f"target pass with {next(iter(wrong))} = "):
        model.predict_s(StepShape(Role.TARGET, 1, 1, 1, **wrong))


def test_seconds_are_positive_and_finite(model: LatencyModel) -> None:
    sequences = np.array([1, 2, 7, 33, 64])
    for role in model.roles:
        seconds = model.predict_s(StepShape(role, sequences, 3 * sequences, 700 * sequences))
        assert (seconds > 0).all()
        assert (seconds < 10).all()


@pytest.mark.parametrize("num_sequences", [1, 3, 16, 50, 64])
def test_more_new_tokens_never_cost_less(model: LatencyModel, num_sequences: int) -> None:
    """Also across the limits of graphs (512 tokens) and of verification (32 tokens a sequence)."""
    tokens = np.arange(num_sequences, 40 * num_sequences + 1)
    contexts = np.array([[1], [150], [1000], [3999]]) * num_sequences
    for role in model.roles:
        seconds = model.predict_s(StepShape(role, num_sequences, tokens, contexts))
        assert (np.diff(seconds, axis=1) >= -1e-12).all()


@pytest.mark.parametrize("num_sequences", [1, 3, 16, 50, 64])
def test_more_kv_never_costs_less(model: LatencyModel, num_sequences: int) -> None:
    kv = np.arange(0, 4000, 13) * num_sequences
    tokens = np.array([[1], [5], [40]]) * num_sequences
    for role in model.roles:
        seconds = model.predict_s(StepShape(role, num_sequences, tokens, kv))
        assert (np.diff(seconds, axis=1) >= -1e-12).all()


def test_the_question_is_left_as_it_was(model: LatencyModel) -> None:
    counts = np.array([4.0, 8.0]), np.array([8.0, 60.0]), np.array([4000.0, 9000.0])
    copies = [values.copy() for values in counts]
    for values in counts:
        values.flags.writeable = False
    first = model.predict_s(StepShape(Role.TARGET, *counts))
    first[:] = -1  # nor is the answer a view of anything the model keeps
    second = model.predict_s(StepShape(Role.TARGET, *counts))
    assert (second > 0).all()
    for values, copy in zip(counts, copies, strict=True):
        np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("name", MODELS)
def test_built_twice_it_answers_the_same(name: str) -> None:
    shape = StepShape(Role.TARGET, 16, np.arange(16, 145), 16 * 777)
    one, other = (MODELS[name]().predict_s(shape) for _ in range(2))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, -1, 1), (1, 1, -1), (np.nan, 1, 1), (1, np.inf, 1)])
def test_impossible_passes_are_refused(model: LatencyModel, counts: tuple[float, float, float]) -> None:
    with pytest.raises(LatencyError, match="expected a finite number"):
        model.predict_s(StepShape(Role.TARGET, *counts))


def test_roles_it_lacks_are_refused(model: LatencyModel) -> None:
    for role in set(Role) - model.roles:
        with pytest.raises(LatencyError, match=f"no step times for the {role}"):
            model.predict_s(StepShape(role, 1, 1, 1))


def test_out_of_range_does_what_it_says(model: LatencyModel) -> None:
    if not isinstance(model, MeasuredLatency):
        assert model.out_of_range == "extrapolate"  # formulas have no calibrated range
        assert model.predict_s(StepShape(Role.TARGET, 4096, 40_000, 10**8)) > 0
        return
    valid = model.valid_range[Role.TARGET]
    top = tuple(high for _, high in (valid.num_sequences, valid.num_new_tokens, valid.mean_context))
    for axis, quantity in enumerate(("num_sequences", "num_new_tokens", "mean_context")):
        sequences, tokens, context = (2 * v if i == axis else v for i, v in enumerate(top))
        beyond = StepShape(Role.TARGET, sequences, tokens, sequences * context)
        edge = StepShape(Role.TARGET, top[0], top[1], top[0] * top[2])
        with pytest.raises(OutOfRangeError, match=quantity):
            replace(model, out_of_range="raise").predict_s(beyond)
        assert replace(model, out_of_range="clip").predict_s(beyond) == model.predict_s(edge)
        extended = replace(model, out_of_range="extrapolate").predict_s(beyond)
        # twice the sequences with the same new tokens are fewer query-key pairs, not more
        assert extended >= (0 if quantity == "num_sequences" else model.predict_s(edge))


def test_its_price_tables_meet_it(model: LatencyModel) -> None:
    tokens = np.arange(16, 145)
    prices = lay_out(model, Role.TARGET, 16, tokens, 100, 2100)
    contexts = np.linspace(100, 2100, 57)
    truth = model.predict_s(StepShape(Role.TARGET, 16, tokens, 16 * contexts[:, None]))
    error = np.abs(prices.at(contexts) / truth - 1).max()
    assert error <= 2e-3
    assert prices.max_relative_error <= 2e-3
