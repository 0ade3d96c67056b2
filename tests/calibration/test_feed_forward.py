"""The routed mixture computes what a loop over tokens and experts computes, and reads as many experts."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from svsim.calibration.decoder import RandomDecoder
from svsim.calibration.feed_forward import DenseMlp, Mixture, require_grouped_products
from svsim.calibration.fused_ops import PLAIN, gated
from svsim.calibration.pass_layout import PassLayout
from svsim.errors import InputError
from svsim.latency.geometry import ModelGeometry

CPU = torch.device("cpu")


def mixture(num_experts: int, num_per_token: int, hidden: int = 16, inner: int = 24) -> Mixture:
    make = torch.Generator().manual_seed(0)
    return Mixture(
        torch.randn(num_experts, hidden, generator=make),
        torch.randn(num_experts, 2 * inner, hidden, generator=make),
        torch.randn(num_experts, hidden, inner, generator=make),
        num_per_token,
    )


def token_by_token(model: Mixture, x: Tensor, embedded: Tensor) -> Tensor:
    """Each token's experts one after the other, in float64."""
    rows = []
    for token, key in zip(x.double(), embedded.double(), strict=True):
        scores = model.router.double() @ key
        best = sorted(range(len(scores)), key=lambda e: -float(scores[e]))[: model.num_per_token]
        weights = torch.softmax(scores[best], 0)
        outputs = [model.down[e].double() @ gated((model.gate_up[e].double() @ token)[None])[0] for e in best]
        rows.append(sum(w * y for w, y in zip(weights, outputs, strict=True)))
    return torch.stack([torch.as_tensor(row) for row in rows])


@pytest.mark.parametrize("num_tokens", [1, 3, 40])
@pytest.mark.parametrize(("num_experts", "num_per_token"), [(8, 2), (32, 8), (4, 1)])
def test_mixture_is_its_experts(num_tokens: int, num_experts: int, num_per_token: int) -> None:
    model = mixture(num_experts, num_per_token)
    x, embedded = torch.randn(2, num_tokens, 16, generator=torch.Generator().manual_seed(1))
    expected = token_by_token(model, x, embedded)
    torch.testing.assert_close(model(x, embedded, PLAIN).double(), expected, rtol=1e-4, atol=1e-3)


def test_shapes_do_not_depend_on_the_routing() -> None:
    # what a CUDA graph asks for: nothing comes back to the host. Counting experts does (the control).
    with FakeTensorMode(), torch.no_grad():
        shapes = (8, 32), (8, 96, 32), (8, 32, 48), (5, 32)
        router, gate_up, down, x = (torch.empty(shape, dtype=torch.bfloat16) for shape in shapes)
        model = Mixture(router, gate_up, down, 2)
        assert model(x, x, PLAIN).shape == (5, 32)
        with pytest.raises(DataDependentOutputException):
            model.num_touched(x)


@pytest.mark.parametrize(("num_experts", "num_per_token"), [(8, 2), (128, 8)])
@pytest.mark.parametrize("num_sequences", [1, 8])
def test_experts_touched_follow_uniform_choice(
    num_experts: int, num_per_token: int, num_sequences: int
) -> None:
    # also for tokens of one sequence, whose hidden states are alike
    num_layers = 30
    geometry = ModelGeometry("mixture", num_layers, 32, 4, 2, 8, 8, 50_000, False, num_experts, num_per_token)
    decoder = RandomDecoder(geometry, num_layers, 8, device=CPU, dtype=torch.float32)
    found = decoder.num_experts_touched(decoder.prepare(PassLayout.spread(num_sequences, 8, 0)))
    expected = float(geometry.expected_active_experts(8))
    # an expert is missed with probability m^8; indicators of two experts are negatively correlated
    missed = (1 - num_per_token / num_experts) ** 8
    error = np.sqrt(num_experts * missed * (1 - missed) / num_layers)
    assert abs(found - expected) < 4 * error


def test_decoder_of_a_mixture() -> None:
    geometry = ModelGeometry("mixture", 2, 32, 4, 2, 8, 24, 61, False, 8, 2)
    decoder = RandomDecoder(geometry, 2, 100, device=CPU, dtype=torch.float32)
    layout = PassLayout.spread(3, 12, 7)
    indices = decoder.prepare(layout)
    whole = decoder.forward(layout, indices)
    assert torch.isfinite(whole).all()
    for layer in decoder.layers:
        assert isinstance(layer.feed_forward, Mixture)
        layer.feed_forward.down.zero_()
    # without its experts the model is another one
    assert not torch.allclose(decoder.forward(layout, indices), whole)
    dense = ModelGeometry("dense", 1, 32, 4, 2, 8, 24, 61)
    assert isinstance(
        RandomDecoder(dense, 1, 10, device=CPU, dtype=torch.float32).layers[0].feed_forward, DenseMlp
    )


@pytest.mark.parametrize(
    ("generation", "dtype", "is_able"),
    [
        (9, torch.bfloat16, True),
        (10, torch.bfloat16, True),
        (8, torch.bfloat16, False),
        (9, torch.float16, False),
    ],
)
def test_gpus_without_a_grouped_product_are_refused(
    monkeypatch: pytest.MonkeyPatch, generation: int, dtype: torch.dtype, is_able: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (generation, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA A100")
    require_grouped_products("mixtral", CPU, dtype)
    if is_able:
        require_grouped_products("mixtral", torch.device("cuda"), dtype)
        return
    with pytest.raises(
        InputError, match="mixtral: a mixture of experts is timed in bfloat16 on a Hopper"
    ) as e:
        require_grouped_products("mixtral", torch.device("cuda"), dtype)
    assert "\n" not in str(e.value)
