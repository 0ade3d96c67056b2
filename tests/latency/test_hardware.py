import pytest

from svsim.errors import LatencyError
from svsim.latency.hardware import GpuDataSheet, HardwareSpec, data_sheet, data_sheets

REQUIRED = {"a100_sxm", "a100_pcie", "h100_sxm", "h200_sxm", "b200_sxm", "l40s", "mi300x", "rtx4090"}


def test_every_number_has_a_source() -> None:
    assert set(data_sheets()) >= REQUIRED
    for sheet in data_sheets().values():
        numbers = {f for f in GpuDataSheet.__slots__ if f not in {"name", "sources"}}
        known = {name for name in numbers if getattr(sheet, name) is not None}
        assert set(sheet.sources) == known
        assert all("http" in source for source in sheet.sources.values())


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_numbers_are_dense_peaks_in_si_units(name: str) -> None:
    sheet = data_sheet(name)
    assert 1e14 < sheet.bf16_flop_per_s < 5e15
    assert sheet.fp8_flop_per_s is None or 1.9 < sheet.fp8_flop_per_s / sheet.bf16_flop_per_s < 2.1
    assert 5e11 < sheet.memory_bytes_per_s < 1e13
    assert 2e10 < sheet.memory_bytes < 3e11
    assert 1e10 < sheet.interconnect_bytes_per_s < 1e12
    assert 200 < sheet.power_w < 1500


@pytest.mark.parametrize("name", ["a100_sxm", "a100_pcie", "h100_sxm", "h200_sxm", "b200_sxm", "l40s"])
def test_peaks_agree_with_the_kernel_database(name: str) -> None:
    perf_database = pytest.importorskip(
        "aiconfigurator_core.sdk.perf_database", reason="needs the extra hardware (aiconfigurator-core)"
    )
    theirs, ours = perf_database.load_system_spec(name), data_sheet(name)
    assert ours.bf16_flop_per_s == pytest.approx(theirs["gpu"]["bfloat16_tc_flops"], rel=0.01)
    assert ours.memory_bytes_per_s == pytest.approx(theirs["gpu"]["mem_bw"], rel=0.05)
    assert ours.memory_bytes == theirs["gpu"]["mem_capacity"]
    assert ours.interconnect_bytes_per_s == theirs["node"]["intra_node_bw"]


def test_specifications() -> None:
    assert HardwareSpec.parse("h100_sxm:tp=4") == HardwareSpec("h100_sxm", 4)
    assert HardwareSpec.parse(" h100_sxm ") == HardwareSpec("h100_sxm", None)
    assert str(HardwareSpec.parse("my_gpu:tp=1")) == "my_gpu:tp=1"
    assert str(HardwareSpec("my_gpu")) == "my_gpu"


@pytest.mark.parametrize("text", ["", ":tp=4", "a:", "a:tp", "a:tp=", "a:pp=2", "a:tp=1,tp=2"])
def test_bad_specifications(text: str) -> None:
    with pytest.raises(LatencyError, match="hardware"):
        HardwareSpec.parse(text)


@pytest.mark.parametrize("degree", ["0", "-1", "2.0", "x", "²", "1025", "9" * 5000])
def test_bad_degrees(degree: str) -> None:
    with pytest.raises(LatencyError, match="expected a number of GPUs from 1 to 1024"):
        HardwareSpec.parse(f"h100_sxm:tp={degree}")


def test_unknown_names_list_the_closest() -> None:
    with pytest.raises(LatencyError, match="no data sheet of hardware h100; did you mean h100_sxm"):
        data_sheet("h100")
