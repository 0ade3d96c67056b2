"""Independent random generators derived by name from one seed.

Two streams with different names (or keys) are statistically independent; the same seed, name and
keys give the same numbers on every machine, whatever else was drawn before and by how many workers.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svsim.errors import InputError


@dataclass(frozen=True, slots=True)
class RandomStreams:
    """One seed, many generators: ``RandomStreams(0).generator("acceptance", 3)``."""

    seed: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed must be a non-negative integer, got {self.seed}")

    def generator(self, name: str, *keys: int) -> np.random.Generator:
        """The generator of the stream ``name`` and integer ``keys`` (a replicate, a request ...)."""
        name_key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little")
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(name_key, *keys)))
        )

    def coins(self, name: str, *keys: int, shape: tuple[int, int], first_row: int = 0) -> NDArray[np.float32]:
        """Uniform numbers in [0, 1) for rows ``first_row`` on, float32 ``shape``.

        A row has the same numbers whether the rows before it are drawn or not: PCG64 jumps to it.
        """
        generator = self.generator(name, *keys)
        words, is_odd = divmod(first_row * shape[1], 2)  # a word of 64 bits makes two numbers
        generator.bit_generator.advance(words)  # type: ignore[attr-defined]
        if is_odd:
            generator.random(dtype=np.float32)
        return generator.random(shape, dtype=np.float32)
