"""The comparison finds no error where there is none, and the error that was put in."""

import json
from typing import Any, ClassVar

import pytest
from support.small_traces import StairLatency, independent_trace

from svsim.calibration.pass_layout import PassLayout
from svsim.errors import InputError
from svsim.latency.shape import Role, StepShape
from svsim.trace.parts import MemorySource
from svsim.validation import device_loop, device_passes
from svsim.validation import hardware_in_the_loop as loop_module
from svsim.validation.hardware_in_the_loop import LoopReport, LoopSettings, hardware_in_the_loop

SOURCE = MemorySource(independent_trace(60, 7, seed=2))
METHODS = ("td", "sd:k=3", "sd:k=7", "sv:k=7", "sv-lossless:k=7")
LATENCY = StairLatency(pad=4, overhead_s=0.0)


class FakeClock:
    """A clock that only fake passes move."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def read_s(self) -> float:
        return self.now_s


class FakeRunner:
    """Passes that take what a latency model says, times a factor by role; nothing is computed."""

    clock = FakeClock()
    factors: ClassVar[dict[Role, float]] = {}

    def __init__(self, role: Role, decoder: object, timer: Any) -> None:
        self.role, self.timer = role, timer

    def reserve(self, num_rows: int, pool: object = None) -> None:
        assert num_rows > 0

    def forget(self) -> None:
        pass

    def lay_out(self, layout: PassLayout) -> PassLayout:
        return layout

    def capture(self, one: PassLayout) -> None:
        pass

    def run(self, one: PassLayout) -> None:
        shape = StepShape(self.role, one.num_sequences, one.total_tokens, one.num_kv_tokens)
        self.clock.now_s += float(LATENCY.predict_s(shape)) * self.factors.get(self.role, 1.0)


@pytest.fixture
def fake_device(monkeypatch: pytest.MonkeyPatch) -> type[FakeRunner]:
    FakeRunner.clock, FakeRunner.factors = FakeClock(), {}
    monkeypatch.setattr(device_passes, "PassRunner", FakeRunner)
    monkeypatch.setattr(device_loop, "cpu_clock", lambda: FakeRunner.clock.read_s)
    return FakeRunner


def run(models: dict[str, str], **options: Any) -> LoopReport:
    defaults: dict[str, Any] = {
        "methods": METHODS,
        "batch_sizes": (1, 4, 16),
        "num_steps": 12,
        "num_repeats": 3,
        "one_context": False,
        "device": "cpu",
    }
    return hardware_in_the_loop(SOURCE, LATENCY, LoopSettings(**models, **{**defaults, **options}))


def test_a_device_as_predicted_has_no_error(tiny_models: dict[str, str], fake_device: Any) -> None:
    """Logged and online run the passes that the replay prices; contexts are rounded, so almost."""
    report = run(tiny_models)
    assert len(report.rows) == len(METHODS) * 3 and report.host_overhead_s == 0.0
    for found in (report.logged, report.online):
        summary = found.summary()
        assert summary["goodput_error_worst"] < 1e-4 and summary["regret_worst"] < 1e-4
        assert summary["crossover_grid_steps_worst"] == 0
    assert report.logged.summary()["marginal_error_worst"] < 1e-2
    row = next(r for r in report.rows if r.method == "sv:k=7" and r.batch_size == 16)
    assert 0 < row.mean_verification_length < 7 and row.predicted_companion_s > 0


@pytest.mark.parametrize("role", list(Role))
def test_an_error_of_one_model_is_found(tiny_models: dict[str, str], fake_device: Any, role: Role) -> None:
    fake_device.factors = {role: 1.25}
    report = run(tiny_models, batch_sizes=(4,), num_steps=6)
    for row in report.rows:
        name = {Role.TARGET: "verify", Role.DRAFT: "draft", Role.COMPANION: "companion"}
        for one, part in name.items():
            predicted, measured = getattr(row, f"predicted_{part}_s"), getattr(row, f"measured_{part}_s")
            assert measured == pytest.approx(predicted * (1.25 if one is role else 1.0), rel=1e-4)
        assert row.online_step_s == pytest.approx(row.measured_step_s, rel=1e-6)
    slope = report.logged.marginals[0].error
    assert slope == pytest.approx(1 / 1.25 - 1 if role is Role.TARGET else 0.0, abs=5e-3)


def test_repeats_go_forwards_and_backwards() -> None:
    """ABBA: the order of the methods turns round, and every method runs in every repeat."""
    assert list(loop_module._abba(3, 3)) == [0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_real_passes_of_tiny_models(tiny_models: dict[str, str]) -> None:
    """Nothing faked: random models on this CPU. Times are whatever they are; steps are as predicted."""
    report = run(tiny_models, batch_sizes=(1, 6), num_steps=4)
    assert {(r.method, r.batch_size) for r in report.rows} == {
        (label, b)
        for label in ("td", "sd:k=3", "sd:k=7", "sv:k=7", "sv-lossless:k=7,unseen=similarity")
        for b in (1, 6)
    }
    for row in report.rows:
        assert row.measured_verify_s > 0 and row.host_s > 0 and row.online_step_s > row.host_s
        assert (row.predicted_draft_s > 0) == (row.method != "td")
        assert (row.predicted_companion_s > 0) == row.method.startswith("sv")
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert written["kind"] == "hardware in the loop" and written["hardware"] == "cpu"
    assert written["models"] == {"target": "target", "draft": "draft", "companion": "companion"}


def test_what_there_is_no_time_for_is_named(tiny_models: dict[str, str], fake_device: Any) -> None:
    report = run(tiny_models, batch_sizes=(4, 1), methods=("td", "sd:k=3"), seconds=0.0)
    assert {r.batch_size for r in report.rows} == {4}
    assert report.left_out_batch_sizes == {1: "no time left"}


def test_bad_settings_are_one_line(tiny_models: dict[str, str]) -> None:
    pair = {"target": tiny_models["target"], "draft": tiny_models["draft"]}
    with pytest.raises(InputError, match="sv:k=7 needs a companion model"):
        run(pair)
    with pytest.raises(InputError, match="num_repeats = 2; expected at least 3"):
        run(pair, num_repeats=2)
    with pytest.raises(InputError, match="oracle:k=7 is a bound"):
        run(pair, methods=("td", "oracle:k=7"))
