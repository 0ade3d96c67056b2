"""The element-wise parts of a decoder layer, fused by torch.compile where that works.

Engines run them as single kernels; unfused they would add some ten launches per layer and time would
not be that of an engine. On a CPU they run as they stand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5


def add_norm(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """RMS norm of x + residual, and that sum: [N, H] each."""
    total = x + residual
    scale = torch.rsqrt(total.float().pow(2).mean(-1, keepdim=True) + EPSILON)
    return (total.float() * scale).to(x.dtype) * weight, total


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of [N, 2 I]: [N, I]."""
    gate, up = gate_up.chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding of heads [N, h, D] by angles [N, D / 2], contiguous."""
    first, second = heads.chunk(2, -1)
    cosine, sine = cosine[:, None], sine[:, None]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


@dataclass(frozen=True, slots=True)
class FusedOps:
    """The functions above, compiled or plain."""

    add_norm: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    gated: Callable[[Tensor], Tensor]
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor]
    is_compiled: bool


PLAIN = FusedOps(add_norm, gated, rotate, is_compiled=False)
_compiled: dict[str, FusedOps] = {}


def fused_ops(device: torch.device, dtype: torch.dtype) -> FusedOps:
    """Compiled once per process and data type on a GPU; plain on a CPU, or where compiling fails.

    A compiled function counts only if it runs and agrees with the plain one on random input.
    """
    if device.type != "cuda":
        return PLAIN
    key = str(dtype)
    if key not in _compiled:
        _compiled[key] = compiled_or_plain(device, dtype)
    return _compiled[key]


def compiled_or_plain(device: torch.device, dtype: torch.dtype) -> FusedOps:
    """Compile, try out, compare; PLAIN after any failure."""
    _allow_recompilation()
    try:
        compiled: list[Any] = [torch.compile(f, dynamic=True) for f in (add_norm, gated, rotate)]
        for num_rows in (1, 24):
            x, residual = torch.randn(2, num_rows, 128, device=device, dtype=dtype)
            weight, angles = (
                torch.randn(128, device=device, dtype=dtype),
                torch.randn(num_rows, 16, device=device),
            )
            heads = torch.randn(num_rows, 4, 32, device=device, dtype=dtype)
            cases = ((x, residual, weight), (x,), (heads, angles.cos().to(dtype), angles.sin().to(dtype)))
            plain: list[Any] = [add_norm, gated, rotate]
            for fast, reference, case in zip(compiled, plain, cases, strict=True):
                torch.testing.assert_close(fast(*case), reference(*case), rtol=3e-2, atol=3e-2)
    except Exception:  # whatever a compiler can raise: the plain functions are always right
        return PLAIN
    return FusedOps(compiled[0], compiled[1], compiled[2], is_compiled=True)


def _allow_recompilation() -> None:
    """Every new combination of shapes may compile; past the default limit it would silently run unfused."""
    import torch._dynamo

    config: Any = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit"):
        if hasattr(config, name):
            setattr(config, name, max(getattr(config, name), 256))
