"""Model names as people write them; unknown names are answered with the closest known ones."""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

from svsim.errors import printable
from svsim.latency.precision import Dtype, KvDtype

MAX_LISTED = 20
# Endings that name a quantized checkpoint, as repositories have them, and the precision of its weights.
QUANTIZED: tuple[tuple[str, Dtype], ...] = (
    ("quantized.w8a8", "int8"),
    ("quantized.w4a16", "int4"),
    ("quantized.w8a16", "int8_weights"),
    ("w8a8", "int8"),
    ("w4a16", "int4"),
    ("w8a16", "int8_weights"),
    ("awq-int4", "int4"),
    ("awq-4bit", "int4"),
    ("awq", "int4"),
    ("gptq-int4", "int4"),
    ("gptq-int8", "int8_weights"),
    ("gptq", "int4"),
    ("bnb-4bit", "int4"),
    ("int4", "int4"),
    ("int8", "int8"),
    ("4bit", "int4"),
    ("8bit", "int8_weights"),
    ("fp8-dynamic", "fp8"),
    ("fp8-block", "fp8_block"),
    ("fp8", "fp8"),
    ("nvfp4a16", "nvfp4_weights"),
    ("nvfp4", "nvfp4"),
    ("mxfp4", "mxfp4"),
    ("fp4", "nvfp4"),
    ("bf16", "bf16"),
    ("fp16", "bf16"),
)
# Owners whose FP8 checkpoints are scaled by blocks of 128 x 128 weights.
BLOCK_SCALED = ("qwen", "deepseek-ai", "zai-org")
# What does not change a model's shape: training and chat, wherever they stand; endings, dates.
TUNED = re.compile(r"-(instruct|chat)(?=-|$)")
SAME_SHAPE = re.compile(r"-(hf|it|base|pt|thinking|preview|\d{4})$")


class WrittenName(NamedTuple):
    """A model's name without what says its precision; None: it says nothing."""

    plain: str
    weights: Dtype | None = None
    kv: KvDtype | None = None


def written_name(name: str) -> WrittenName:
    """A name without the endings that name a quantized checkpoint (``-FP8``, ``-AWQ`` ...)."""
    plain = name.strip().lower().replace("_", "-").replace("meta-llama-", "llama-")
    owner = plain.partition("/")[0]
    kv: KvDtype | None = None
    if plain.endswith("-fp8-kv"):
        plain, kv = plain.removesuffix("-kv"), "fp8"
    for ending, dtype in QUANTIZED:
        if plain.endswith(f"-{ending}"):
            is_block = ending == "fp8" and owner in BLOCK_SCALED
            return WrittenName(plain.removesuffix(f"-{ending}"), "fp8_block" if is_block else dtype, kv)
    return WrittenName(plain)


def same_shape(plain: str) -> str:
    """A name without what leaves a model's shape alone (``-Instruct``, ``-2507`` ...)."""
    plain = TUNED.sub("", plain)
    while SAME_SHAPE.search(plain):
        plain = SAME_SHAPE.sub("", plain)
    return plain


def closest_names(name: str, known: Iterable[str]) -> str:
    """``did you mean a, b?``, or ``known: ...`` when nothing is close."""
    names = [printable(text, 80) for text in dict.fromkeys(known)]
    close = difflib.get_close_matches(name[:80], names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    more = ", ..." if len(names) > MAX_LISTED else ""
    return f"known: {', '.join(names[:MAX_LISTED])}{more}" if names else "none is known"
