"""Hardware specifications: what they say, how they are spelled, what is refused."""

import pytest

from svsim.errors import LatencyError
from svsim.latency.geometry import model_geometry
from svsim.latency.hardware_spec import HardwareSpec, Placement
from svsim.latency.shape import Role

FULL = "h100_sxm:tp=4,draft=replicated,companion=sharded,quant=fp8,kv=fp8"


def test_what_is_said() -> None:
    assert HardwareSpec.parse("h100_sxm:tp=4") == HardwareSpec("h100_sxm", 4)
    assert HardwareSpec.parse(" h100_sxm ") == HardwareSpec("h100_sxm", None)
    assert HardwareSpec.parse("dir/my_gpu.json:tp=2") == HardwareSpec("dir/my_gpu.json", 2)
    spec = HardwareSpec.parse(FULL)
    assert spec.placements == {Role.DRAFT: Placement.REPLICATED, Role.COMPANION: Placement.SHARDED}
    assert spec.roles(Placement.SHARDED) == {Role.COMPANION} and spec.roles(Placement.ONE) == set()
    assert HardwareSpec.parse("a").placements == {}


@pytest.mark.parametrize("text", ["h100_sxm", "h100_sxm:tp=4", FULL, "a:quant=int8", "a:tp=1,draft=one"])
def test_the_canonical_text_is_read_back(text: str) -> None:
    assert str(HardwareSpec.parse(text)) == text


def test_one_order_of_options() -> None:
    spec = HardwareSpec.parse("a:kv=fp8, draft=sharded ,tp=2")
    assert str(spec) == "a:tp=2,draft=sharded,kv=fp8"
    assert spec.options == "draft=sharded,kv=fp8"
    assert HardwareSpec.parse("a:tp=2").options is None


def test_precision_is_the_targets() -> None:
    model = model_geometry("llama-3.1-8b")
    spec = HardwareSpec.parse("a:quant=fp8,kv=fp8")
    assert (spec.quantized(Role.TARGET, model).weight_dtype, spec.quantized(Role.TARGET, model).kv_dtype) == (
        "fp8",
        "fp8",
    )
    assert spec.quantized(Role.DRAFT, model) == model
    assert HardwareSpec.parse("a:tp=2").quantized(Role.TARGET, model) == model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected NAME or NAME:key=value"),
        (":tp=4", "expected NAME or"),
        ("a:", "expected NAME or"),
        ("a:pp=2", 'option "pp=2"; expected, each once: tp=N, draft=one|replicated|sharded'),
        ("a:tp=1,tp=2", 'option "tp=2"; expected, each once'),
        ("a:quant=fp8,quant=fp8", "each once"),
        ("a:draft=two", 'draft = "two"; expected one of one, replicated, sharded'),
        ("a:draft", 'draft = ""; expected one of'),
        ("a:quant=fp16", 'quant = "fp16"; expected one of bf16, fp8, fp8_block, int8, nvfp4'),
        ("a:kv=nvfp4", 'kv = "nvfp4"; expected one of bf16, fp8'),
        ("a:tp=1,", 'option ""'),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(LatencyError) as refused:
        HardwareSpec.parse(text)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("degree", ["", "0", "-1", "2.0", "x", "²", "1025", "9" * 5000])
def test_bad_degrees(degree: str) -> None:
    with pytest.raises(LatencyError, match="expected a number of GPUs from 1 to 1024"):
        HardwareSpec.parse(f"h100_sxm:tp={degree}")
