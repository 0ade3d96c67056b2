"""Your own step times: a few numbers in a JSON file, or any object that answers ``predict_s``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import svsim
from svsim.latency.linear import LinearLatency
from svsim.latency.shape import StepShape

HERE = Path(__file__).parent
TRACE = HERE.parent / "traces" / "llama70b.parquet"


class Padded(LinearLatency):
    """The same GPU where passes run captured graphs: new tokens are padded to a multiple of 32."""

    def predict_s(self, shape: StepShape) -> NDArray[np.float64]:
        """Seconds of each pass, [N]."""
        sequences, tokens, kv = shape.broadcast()
        return super().predict_s(StepShape(shape.role, sequences, np.ceil(tokens / 32) * 32, kv))


linear = HERE / "my_gpu.json"
for name, latency in {"linear": str(linear), "padded": Padded.from_file(linear)}.items():
    methods = ["td", "sd:k=5", "sv:k=7"]
    table = svsim.replay(TRACE, methods=methods, latency=latency, batch_sizes=[4, 16, 64])
    for row in table.rows:
        print(
            f"{name}  batch {row.batch_size:2d}  {row.label:7s} {row.goodput_tok_s:5,.0f} tok/s, "
            f"{row.mean_verification_length:.2f} tokens verified per sequence"
        )
