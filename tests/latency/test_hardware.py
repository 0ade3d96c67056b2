import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from svsim.deployments import unchecked_notes
from svsim.errors import LatencyError
from svsim.latency.data_parallel import DataParallelLatency
from svsim.latency.geometry import model_geometry
from svsim.latency.hardware import GpuDataSheet, canonical_name, data_sheet, data_sheets
from svsim.latency.prices import hourly_prices
from svsim.latency.roofline import RooflineLatency

REQUIRED = {
    "a100_sxm", "a100_pcie", "h100_sxm", "h200_sxm", "b200_sxm", "l40s", "mi300x", "rtx4090",
    "gaudi3", "tpu_v5e", "tpu_v6e", "gh200", "h20", "a800_sxm", "h100_nvl", "l20", "rtx5090", "mi355x",
}  # fmt: skip
SAMPLE = {
    "bf16_flop_per_s": 1e15,
    "memory_bytes": 1e11,
    "memory_bytes_per_s": 4e12,
    "interconnect_bytes_per_s": 5e11,
}


def test_every_number_has_a_source() -> None:
    assert set(data_sheets()) >= {*REQUIRED, "b300_sxm", "gb10"}
    for sheet in data_sheets().values():
        numbers = {f for f in GpuDataSheet.__slots__ if f not in {"name", "sources", "checked"}}
        known = {name for name in numbers if getattr(sheet, name) is not None}
        assert set(sheet.sources) == known
        assert all("http" in source for source in sheet.sources.values())


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_numbers_are_dense_peaks_in_si_units(name: str) -> None:
    sheet = data_sheet(name)
    assert 1e14 < sheet.bf16_flop_per_s < 5e15
    for peak in (sheet.fp8_flop_per_s, sheet.int8_op_per_s, sheet.fp4_flop_per_s):
        # GeForce cards multiply integers four times and FP4 eight times as fast as bf16, whose float32 sums
        # run at half rate
        assert peak is None or 0.9 < peak / sheet.bf16_flop_per_s < 8.1
    assert 5e11 < sheet.memory_bytes_per_s < 1e13
    assert 1.6e10 < sheet.memory_bytes < 3.1e11
    assert 1e10 < sheet.interconnect_bytes_per_s < 1e12
    assert sheet.power_w is None or 200 < sheet.power_w < 1500


@pytest.mark.parametrize(
    "name", ["a100_sxm", "a100_pcie", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "l40s"]
)
def test_peaks_agree_with_the_kernel_database(name: str) -> None:
    perf_database = pytest.importorskip(
        "aiconfigurator_core.sdk.perf_database", reason="needs the extra hardware (aiconfigurator-core)"
    )
    theirs, ours = perf_database.load_system_spec(name), data_sheet(name)
    assert ours.bf16_flop_per_s == pytest.approx(theirs["gpu"]["bfloat16_tc_flops"], rel=0.01)
    assert ours.memory_bytes_per_s == pytest.approx(theirs["gpu"]["mem_bw"], rel=0.05)
    assert ours.memory_bytes == theirs["gpu"]["mem_capacity"]
    assert ours.interconnect_bytes_per_s == theirs["node"]["intra_node_bw"]


def test_other_names_lead_to_the_canonical_one() -> None:
    for alias, name in {"h100": "h100_sxm", "dgx_spark": "gb10", "rtx_5090": "rtx5090"}.items():
        assert canonical_name(alias) == name
        assert data_sheet(alias) is data_sheet(name)
    assert canonical_name("my_gpu") == "my_gpu"
    aliases = json.loads(files("svsim.latency").joinpath("hardware.json").read_text("utf-8"))["aliases"]
    assert set(aliases.values()) <= set(data_sheets()) and not set(aliases) & set(data_sheets())


def test_what_was_never_compared_says_so() -> None:
    models = [RooflineLatency.of(name, 1, model_geometry("llama-3.1-8b")) for name in ("mi300x", "h100")]
    (note,) = unchecked_notes([*models, DataParallelLatency(models[0], {})])
    assert note.startswith("mi300x: priced by a roofline") and "calibrate" in note
    checked = {name for name, sheet in data_sheets().items() if sheet.checked}
    assert checked == {"a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "l40s"}


def test_a_gpu_described_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my_gpu.json"
    path.write_text(json.dumps(SAMPLE | {"note": "engineering sample"}))
    sheet = data_sheet(str(path))
    assert (sheet.name, sheet.bf16_flop_per_s, sheet.fp8_flop_per_s, sheet.power_w) == (
        "my_gpu",
        1e15,
        None,
        None,
    )
    assert set(sheet.sources) == set(SAMPLE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        (json.dumps(SAMPLE | {"tflops": 3}), "unknown key tflops"),
        (json.dumps(SAMPLE | {"memory_bytes": None}), "key memory_bytes is missing"),
        (json.dumps(SAMPLE | {"power_w": -1}), "power_w = -1; expected a number > 0"),
        (json.dumps(SAMPLE | {"power_w": True}), "power_w = True"),
    ],
)
def test_files_that_describe_no_gpu(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(LatencyError, match=message):
        data_sheet(str(path))


def test_prices_are_dated_and_replaceable(tmp_path: Path) -> None:
    shipped = hourly_prices()
    assert set(shipped) <= set(data_sheets())
    assert all(0 < p.usd_per_gpu_hour < 100 and re.search(r"20[0-9]{2}", p.source) for p in shipped.values())
    path = tmp_path / "prices.json"
    path.write_text(
        '{"usd_per_gpu_hour": {"x": [2, "a"]}, "sources": {"a": {"title": "ours", "date": "2026"}}}'
    )
    assert {name: (p.usd_per_gpu_hour, p.source) for name, p in hourly_prices(path).items()} == {
        "x": (2.0, "ours, 2026")
    }
    path.write_text('{"usd_per_gpu_hour": {"x": [-2, "a"]}, "sources": {"a": {"title": "ours"}}}')
    with pytest.raises(LatencyError, match="price of x"):
        hourly_prices(path)


def test_unknown_names_list_the_closest() -> None:
    with pytest.raises(LatencyError, match="no data sheet of hardware h100_sx; did you mean h100_sxm"):
        data_sheet("h100_sx")
