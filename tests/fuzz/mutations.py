"""Ways to damage an input: bytes, JSON values, words."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator

# what no field expects, and what many readers forget
NASTY: tuple[Any, ...] = (
    *(None, True, False, "", "x", "\x1b[31m\x07", "\ud800", "\u202e", "9" * 5000, "nan", "1e999", "-1"),
    *(0, -1, 1, 2, 255, 256, 2**31, 2**63, 10**39, 10**41, 10**400, -(10**400)),
    *(0.0, -0.0, 0.5, 1e-300, 1e-9, 1e308, -1.5, float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [None], ["x"], {"a": []}, {"": 0}, [1, "x", None], [1e308] * 3),
)
PIECES = (
    *(
        "td",
        "sd",
        "sv",
        "svip",
        "oracle",
        "vllm-ladder",
        "eagle",
        "redraw",
        "recorded",
        "h100_sxm",
        "tp",
        "k",
    ),
    *("quant", "kv", "fp8", "draft", "replicated", "objective", "accepted", "stop", "poisson", "rate"),
    *(":", ",", "=", "-", "/", ".", " ", "\t", "\n", "\x00", "\x1b", "\u0663", "\ud800", "e", "_", "+"),
    *("0", "1", "5", "7", "255", "256", "-1", "1e308", "1e-300", "nan", "inf", "9" * 40, "9" * 5000),
)


def pick(rng: Random, items: Any) -> Any:
    """One of the items, itself (NumPy would copy it into its own type)."""
    return items[int(rng.integers(len(items)))]


def damaged_bytes(data: bytes, rng: Random) -> bytes:
    """Flipped, cut, lengthened, swapped or repeated; half of the flips in the last part (a footer)."""
    kind, size = int(rng.integers(7)), len(data)
    if size < 16:
        return data + bytes(rng.integers(0, 256, 4, np.uint8))
    at = int(rng.integers(size))
    if kind <= 2:
        out = bytearray(data)
        for _ in range((1, 1, int(rng.integers(2, 20)))[kind]):
            place = (
                int(rng.integers(size))
                if rng.random() < 0.5
                else size - 1 - int(rng.integers(min(size, 6000)))
            )
            out[place] ^= int(rng.integers(1, 256))
        return bytes(out)
    if kind == 3:
        return data[:at]
    if kind == 4:
        return data[:at] + bytes(rng.integers(0, 256, int(rng.integers(1, 40)), np.uint8)) + data[at:]
    length = int(rng.integers(1, min(64, size // 2)))
    other = int(rng.integers(size - length))
    return data[:at] + data[other : other + length] + data[at + (length if kind == 5 else 0) :]


def damaged_value(value: Any, rng: Random) -> Any:
    """A JSON value with one place replaced, removed, added or wrapped."""
    out = json.loads(json.dumps(value))
    places = list(_places(out))
    if not places or rng.random() < 0.02:
        return pick(rng, NASTY)
    holder, key = pick(rng, places)
    kind = int(rng.integers(8))
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[pick(rng, ("", "x", "\x1b", "kind", "name", "9" * 300))] = pick(rng, NASTY)
    elif kind == 2:
        holder[key] = [holder[key]]
    elif kind == 3:
        for _ in range(int(rng.integers(2, 100))):
            holder[key] = {"x": holder[key]}
    elif kind == 4 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * pick(rng, (0, -1, 1e-12, 1e12, 1e300, 0.5))
    else:
        holder[key] = pick(rng, NASTY)
    return out


def damaged_json(value: Any, rng: Random) -> bytes:
    """The text of a damaged value; one in four is damaged as text."""
    text = json.dumps(damaged_value(value, rng)).encode()
    return damaged_bytes(text, rng) if rng.random() < 0.25 else text


def damaged_text(text: str, rng: Random) -> str:
    """A word with pieces put in, put over or taken out."""
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(text) + 1))
        upto = at + int(rng.integers(0, 6)) if rng.random() < 0.6 else at
        text = text[:at] + (pick(rng, PIECES) if rng.random() < 0.8 else "") + text[upto:]
    return text


def _places(value: Any) -> Any:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in list(children):
        yield value, key
        yield from _places(child)


Damage = Callable[[Random], Any]
