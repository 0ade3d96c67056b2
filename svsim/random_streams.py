"""Independent random generators derived by name from one seed.

Two streams with different names (or keys) are statistically independent; the same seed, name and
keys give the same numbers on every machine, whatever else was drawn before and by how many workers.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

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
