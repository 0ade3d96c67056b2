"""The GPU's programme, rehearsed at tiny size on the CPU by its own command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from campaign.scale import CPU, FULL

from svsim.latency.measured import MeasuredLatency
from svsim.trace.file import load_trace

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "calibration" / "gpu_programme.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_rehearsal(tmp_path: Path) -> None:
    done = run("--scale", "rehearsal", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    reports = {part: json.loads((out / f"part_{part}.json").read_text()) for part in "abcd"}
    assert reports["a"]["tables"]["cpu_llama-3.1-8b"]["roles"]["target"]["layer_scaling_error"]
    assert reports["c"]["tables"]["cpu_qwen3-30b-a3b"]["roles"]["target"]["experts_touched"]
    assert set(reports["b"]["traces"]) == {
        f"cpu_triplet_{task}_{sampling}"
        for task in ("code", "prose", "mixed")
        for sampling in ("t07", "greedy")
    }
    for name in ("llama-3.1-70b_1b_3b", "llama-3.1-8b_1b_3b", "qwen2.5-32b_0.5b_1.5b", "triplet_step_times"):
        assert len(MeasuredLatency.from_file(out / f"cpu_{name}.parquet").roles) == 3, name
    assert set(reports["d"]["summaries"]) == {"qwen2.5-32b", "llama-3.1-8b", "live"}
    for family in ("qwen2.5-32b", "llama-3.1-8b"):
        found = json.loads((out / f"cpu_validation_{family}.json").read_text())
        assert found["latency_table"].startswith("cpu_") and found["left_out_batch_sizes"] == {}
        assert {row["batch_size"] for row in found["rows"]} == {1, 4}
    trace = load_trace(out / "cpu_triplet_mixed_greedy.parquet")
    assert trace.metadata.is_greedy and trace.step_times is not None
    assert trace.metadata.command == "python calibration/gpu_programme.py --scale rehearsal a b c d"
    assert all(path.stat().st_size < 16 << 20 for path in out.rglob("*") if path.is_file())


def test_full_scale_is_what_was_promised() -> None:
    triplet = FULL.triplet
    assert FULL.device == "cuda" and FULL.num_speculative_tokens == 8
    assert triplet.num_requests >= 200 and triplet.num_output_tokens >= 128 and len(triplet.captures) == 6
    assert FULL.timing.seconds_per_model <= 60 and triplet.minutes <= 8
    assert CPU.triplet.num_requests >= 200 and CPU.triplet.num_output_tokens >= 128


@pytest.mark.parametrize("arguments", [["e"], ["--scale", "huge"]])
def test_unknown_part_or_scale(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_no_gpu_is_one_line(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = run("--out", str(tmp_path / "out"), "a")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("gpu_programme: no CUDA device found")
    assert "Traceback" not in done.stderr
