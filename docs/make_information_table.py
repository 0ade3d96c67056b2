"""The bias of svsim's information estimators against sample size, on a law where the truth is known.

    python docs/make_information_table.py            # rewrites the table in docs/information.md

The law is discrete, so both information gains are exact sums. Estimates are averaged over independent
samples of N tokens; the held-out gain learns from N tokens and is judged on N others.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svsim.decoding.beliefs import BinnedBelief
from svsim.random_streams import RandomStreams
from svsim.speculation_math import (
    binary_entropy_bits,
    discretized_information_gain_bits,
    entropy_bits,
    equal_bins,
    information_gain_bits,
)

PAGE = Path(__file__).with_name("information.md")
BEGIN, END = "<!-- bias table -->\n", "<!-- end of bias table -->"
SIZES = (300, 1_000, 3_000, 10_000, 30_000, 100_000)
TOKENS_PER_SIZE = 1_000_000
MAX_SAMPLES = 400
X_BINS, CELLS = 10, 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DiscreteLaw:
    """Equally likely outcomes (S, A, a), float64 [M] each: exact information by summing over them."""

    s: Floats
    companion: Floats
    a: Floats

    @classmethod
    def example(cls) -> "DiscreteLaw":
        """8 values of S, 4 of A given S, and acceptance that S and A shift and something hidden decides."""
        s, companion, hidden = (
            grid.ravel()
            for grid in np.meshgrid(
                0.06 + 0.125 * np.arange(8), 0.12 + 0.25 * np.arange(4), np.arange(7), indexing="ij"
            )
        )
        easiness = 8.0 * (s - 0.4) + 4.0 * (companion - 0.5) + 2.0 * (hidden - 2.0)
        return cls(s, companion, 1 / (1 + np.exp(-easiness)))

    @property
    def gain_bits(self) -> float:
        """h(E a) - E h(E[a | S, A])."""
        cells = np.unique(np.stack([self.s, self.companion]), axis=1, return_inverse=True)[1].ravel()
        known = np.bincount(cells, self.a) / np.bincount(cells)
        return float(binary_entropy_bits(self.a.mean()) - binary_entropy_bits(known).mean())

    @property
    def ceiling_bits(self) -> float:
        """h(E a) - E h(a)."""
        return float(binary_entropy_bits(self.a.mean()) - binary_entropy_bits(self.a).mean())

    def paper_gain_bits(self, num_x_bins: int, num_signal_bins: int) -> float:
        """I(X; S, A) in bins: the entropies of the outcomes' own bins."""
        x, n = equal_bins(self.a, num_x_bins), num_signal_bins
        cells = equal_bins(self.s, n) * n + equal_bins(self.companion, n)
        joint = np.unique(cells * num_x_bins + x, return_counts=True)[1]
        return entropy_bits(np.bincount(x)) + entropy_bits(np.bincount(cells)) - entropy_bits(joint)

    def sample(self, rng: np.random.Generator, num_tokens: int) -> tuple[Floats, Floats, Floats]:
        """(S, A, a) of independent tokens, [N] each."""
        drawn = rng.integers(0, len(self.a), num_tokens)
        return self.s[drawn], self.companion[drawn], self.a[drawn]


def estimates(law: DiscreteLaw, rng: np.random.Generator, num_tokens: int) -> tuple[float, ...]:
    """One sample's (held-out gain, gain on the tokens learnt from, paper raw, paper corrected)."""
    s, companion, a = law.sample(rng, num_tokens)
    signals = s.astype(np.float32), companion.astype(np.float32)
    belief = BinnedBelief().fit(signals, a.astype(np.float32))
    others = law.sample(rng, num_tokens)
    held_out = belief.predict((others[0].astype(np.float32), others[1].astype(np.float32)))
    paper = discretized_information_gain_bits(
        a, s, companion, num_x_bins=X_BINS, num_signal_bins=CELLS, generator=rng
    )
    return (
        information_gain_bits(others[2], held_out),
        information_gain_bits(a, belief.predict(signals)),
        paper.raw_bits,
        paper.corrected_bits,
    )


def mean_bias(law: DiscreteLaw, num_tokens: int, num_samples: int) -> tuple[Floats, Floats]:
    """Mean estimate minus truth, and its standard error, of the four estimates, [4] each."""
    streams = RandomStreams(0)
    found = np.array(
        [
            estimates(law, streams.generator("bias of information", num_tokens, i), num_tokens)
            for i in range(num_samples)
        ]
    )
    paper = law.paper_gain_bits(X_BINS, CELLS)
    truth = np.array([law.gain_bits, law.gain_bits, paper, paper])
    return found.mean(axis=0) - truth, found.std(axis=0, ddof=1) / np.sqrt(num_samples)


def table(law: DiscreteLaw, sizes: Sequence[int]) -> str:
    """The table in Markdown; bits."""
    paper = law.paper_gain_bits(X_BINS, CELLS)
    lines = [
        f"Truth: gain {law.gain_bits:.4f} of at most {law.ceiling_bits:.4f} bits; I(X; S, A) at {X_BINS} "
        f"bins of a and {CELLS} x {CELLS} cells {paper:.4f} bits. Mean estimate minus truth, in bits, "
        "± one standard error:",
        "",
        "| tokens | held-out gain | gain on the tokens learnt from | I(X; S, A) raw | shuffle-corrected |",
        "|---|---|---|---|---|",
    ]
    for size in sizes:
        bias, error = mean_bias(law, size, min(MAX_SAMPLES, TOKENS_PER_SIZE // size))
        cells = (f"{b:+.4f} ± {e:.4f}" for b, e in zip(bias, error, strict=True))
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the table of the page."""
    argparse.ArgumentParser(description="rewrite the bias table of docs/information.md").parse_args()
    page = PAGE.read_text()
    head, tail = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{table(DiscreteLaw.example(), SIZES)}\n{END}{tail}")


if __name__ == "__main__":
    main()
