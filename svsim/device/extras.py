"""The optional packages and the machine: what is installed, which device there is."""

import importlib.util
import platform
import re
from importlib import metadata
from typing import Any, Literal

from svsim.errors import InputError

Device = Literal["cuda", "cpu"]
DataType = Literal["auto", "bfloat16", "float16", "float32"]

# Names as in NVIDIA's aiconfigurator; the pattern is looked for in the device's marketing name.
CANONICAL_HARDWARE = (
    ("h100_sxm", r"\bH100\b.*\bHBM3\b"),
    ("h100_pcie", r"\bH100 PCIe\b"),
    ("h200_sxm", r"\bH200$"),
    ("gb200", r"\bGB200\b"),
    ("b200_sxm", r"\bB200\b"),
    ("a100_sxm", r"\bA100-SXM"),
    ("a100_pcie", r"\bA100-PCI"),
    ("l40s", r"\bL40S\b"),
    ("l4", r"\bL4\b"),
)


def require_extra(*packages: str) -> None:
    """InputError naming the remedy if a package of the extra ``capture`` is absent."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{missing[0]} is not installed; capture needs it: pip install 'svsim[capture]'")


def quiet_transformers() -> None:
    """No progress bars and warnings of transformers and its hub on the terminal: svsim reports itself."""
    import logging
    import os

    # read when tqdm is first imported; the loader of GGUF files knows no other way
    os.environ.setdefault("TQDM_DISABLE", "1")
    from transformers.utils import logging as transformers_logging

    quiet: Any = transformers_logging
    quiet.disable_progress_bar()
    quiet.set_verbosity_error()
    # retries without a network, line after line: the error that ends them says it once
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)


def torch_device(device: Device) -> Any:
    """The torch device, or InputError where it is absent: the CPU is used only when asked for."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device found; choose the device cpu (--device cpu) to run on this machine's processor "
            "(slow, labelled)"
        )
    return torch.device(device)


def torch_dtype(dtype: DataType, device: Device) -> Any:
    """``auto`` is bfloat16 on a GPU and float32 on a CPU."""
    import torch

    if dtype == "auto":
        return torch.bfloat16 if device == "cuda" else torch.float32
    return getattr(torch, dtype)


def hardware_name(device: Device) -> str:
    """Canonical name of the device: ``h200_sxm``, ``cpu``, or the vendor's name in lower case."""
    torch_device(device)
    if device == "cpu":
        return "cpu"
    import torch

    return canonical_hardware(torch.cuda.get_device_name())


def canonical_hardware(device_name: str) -> str:
    """``NVIDIA H100 80GB HBM3`` -> ``h100_sxm``; an unknown device keeps its own name, spelt as one word."""
    for name, pattern in CANONICAL_HARDWARE:
        if re.search(pattern, device_name):
            return name
    return re.sub(r"[^a-z0-9]+", "_", device_name.lower()).strip("_")


def software_versions() -> dict[str, str]:
    """Versions of what can change a result, by package; ``python`` included."""
    versions = {"python": platform.python_version()}
    for package in ("svsim", "torch", "transformers", "tokenizers", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "from source" if package == "svsim" else "absent"
    return versions
