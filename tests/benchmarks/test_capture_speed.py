"""What recording costs: the capture loop with its signals against the same loop without, one thread."""

import time
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

pytest.importorskip("torch", reason="capture needs the extra capture")
pytest.importorskip("transformers", reason="capture needs the extra capture")

NUM_POSITIONS, K = 24, 8


def random_models(vocabulary: int, shapes):
    """Target, draft and companion with random weights: (hidden size, layers, heads, MLP) each."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from svsim.trace_capture.cached_model import CachedModel
    from svsim.trace_capture.coherent_chains import Triple

    torch.manual_seed(0)
    return Triple(
        *(
            CachedModel(
                LlamaForCausalLM(
                    LlamaConfig(
                        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers,
                        num_attention_heads=heads, intermediate_size=mlp, tie_word_embeddings=True,
                    )
                ).eval(),
                vocabulary,
            )
            for hidden, layers, heads, mlp in shapes
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "vocabulary", "shapes", "num_requests", "num_rounds"),
    [
        ("0.7 M parameters", 1024, [(128, 3, 4, 344), (32, 1, 2, 96), (64, 2, 2, 176)], 48, 7),
        ("40 M parameters", 8192, [(512, 12, 8, 1408), (128, 3, 4, 344), (256, 4, 4, 704)], 16, 2),
    ],
)
def test_recorder_on_and_off(benchmark, figure, name, vocabulary, shapes, num_requests, num_rounds):
    import torch

    from svsim.trace_capture.coherent_chains import ChainOptions, Uniforms, record_chains
    from svsim.trace_capture.settings import SamplingSettings

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    models = random_models(vocabulary, shapes)
    prompts = [list(np.random.default_rng(i).integers(0, vocabulary, 32)) for i in range(num_requests)]
    uniforms = Uniforms.draw([np.random.default_rng(i) for i in range(num_requests)], NUM_POSITIONS, K)
    on = ChainOptions(SamplingSettings(temperature=0.7), K, NUM_POSITIONS)

    def seconds(options: ChainOptions) -> float:
        start = time.thread_time()
        record_chains(models, prompts, uniforms, options)
        return time.thread_time() - start

    off = replace(on, with_signals=False)
    ratios = []
    for _ in range(num_rounds):  # on, off, off, on: slow spells of the machine meet both
        first, second, third, fourth = (seconds(options) for options in (on, off, off, on))
        ratios.append((first + fourth) / (second + third))
    benchmark.pedantic(seconds, args=(on,), rounds=1)
    torch.set_num_threads(num_threads)
    figure(f"capture with its recorder, target of {name}", f"{median(ratios) - 1:+.1%}", "<= +10 %")
