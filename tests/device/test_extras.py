"""Without torch the package still imports, and says what to install."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from svsim.device.extras import canonical_hardware, require_extra
from svsim.errors import InputError


def test_torch_is_here() -> None:
    if find_spec("torch") is None or find_spec("transformers") is None:
        pytest.skip(
            "torch and transformers are not installed: the tests of capture and calibration cannot run"
        )


def test_missing_package_names_the_remedy() -> None:
    with pytest.raises(InputError, match=r"no_such_package is not installed.*svsim\[capture\]"):
        require_extra("json", "no_such_package")


def test_settings_and_entry_points_load_no_torch() -> None:
    code = (
        "import sys, svsim.trace_capture.settings, svsim.trace_capture.capture, svsim.calibration.calibrate; "
        "import svsim.training.triplet, svsim.calibration.overlap; "
        "import svsim; svsim.capture, svsim.calibrate, svsim.CaptureSettings, svsim.CalibrationSettings; "
        "print([m for m in ('torch', 'transformers', 'tokenizers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    ("device_name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA H200", "h200_sxm"),
        ("NVIDIA H200 NVL", "nvidia_h200_nvl"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm"),
        ("NVIDIA B200", "b200_sxm"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 4090", "nvidia_geforce_rtx_4090"),
    ],
)
def test_canonical_hardware(device_name: str, expected: str) -> None:
    assert canonical_hardware(device_name) == expected
