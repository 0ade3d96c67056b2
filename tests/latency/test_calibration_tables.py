"""The committed step-time tables: readable, as the README says, and what their script writes."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from svsim.latency.measured import MeasuredLatency, hardware_in, read_step_times
from svsim.latency.shape import Role, StepShape

CALIBRATION = Path(__file__).parents[2] / "calibration"
LLAMA70B = CALIBRATION / "llama70b_step_times.parquet"


def test_llama70b_holds_three_deployments_in_a_small_file() -> None:
    assert LLAMA70B.stat().st_size < 400_000
    columns = read_step_times(LLAMA70B)
    assert hardware_in(columns) == [("h100_sxm", 4), ("h200_sxm", 4), ("a100_sxm", 4)]
    assert set(columns["source"]) == {"database", "roofline", "assumed"}
    by_roofline = columns["source"] == "roofline"
    assert set(columns["hardware"][by_roofline]) == {"a100_sxm"}
    assert set(columns["role"][by_roofline]) == {"draft"}


@pytest.mark.parametrize("hardware", ["h100_sxm", "h200_sxm", "a100_sxm"])
def test_llama70b_covers_its_stated_range(hardware: str) -> None:
    model = MeasuredLatency.from_file(LLAMA70B, hardware)
    assert model.roles == set(Role)
    for role in Role:
        assert model.valid_range[role].num_sequences == (1, 256)
        assert model.valid_range[role].num_new_tokens == (1, 8192)
        assert model.valid_range[role].mean_context == (0, 32768)
        assert model.residuals[role].median <= 0.005
        assert model.residuals[role].p95 <= 0.04


def test_llama70b_is_ordered_like_the_hardware() -> None:
    """More bandwidth decodes faster; the two Hoppers, equal in arithmetic, read prompts alike."""
    models = [MeasuredLatency.from_file(LLAMA70B, name) for name in ("h200_sxm", "h100_sxm", "a100_sxm")]
    decode = [model.predict_s(StepShape(Role.TARGET, 1, 1, 300)) for model in models]
    assert decode == sorted(decode)
    prompt = [model.predict_s(StepShape(Role.TARGET, 1, 4096, 0)) for model in models]
    assert prompt[0] == pytest.approx(prompt[1], rel=0.05)
    assert prompt[2] > 2 * prompt[1]


def test_llama70b_is_what_its_script_builds() -> None:
    pytest.importorskip("aiconfigurator_core", reason="needs the extra hardware (aiconfigurator-core)")
    script = runpy.run_path(str(CALIBRATION / "make_llama70b_step_times.py"))
    built, committed = script["build_table"](), read_step_times(LLAMA70B)
    for name, values in committed.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(built.column(name).to_numpy(), values, rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(built.column(name).to_numpy(), values, err_msg=name)


def test_the_fit_does_not_depend_on_the_number_of_threads() -> None:
    code = (
        "import hashlib, sys; from svsim.latency.measured import MeasuredLatency\n"
        "model = MeasuredLatency.from_file(sys.argv[1])\n"
        "fits = model.surfaces.values()\n"
        "knots = b''.join(fit.token_s.tobytes() + fit.context.read_s.tobytes() for fit in fits)\n"
        "others = [(fit.row_s, fit.context.attention.pair_s) for fit in fits]\n"
        "print(hashlib.sha256(knots).hexdigest(), others)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code, str(LLAMA70B)],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    assert len(answers) == 1
