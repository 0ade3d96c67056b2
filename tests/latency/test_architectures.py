"""Every known architecture holds what transformers' class of it holds: weights, and a prompt's cache."""

import pytest

from svsim.errors import LatencyError
from svsim.latency.architectures import architecture, architectures, class_defaults
from svsim.latency.geometry import ModelGeometry
from svsim.latency.layer_readers import RECURRENT
from svsim.latency.special_shapes import SPECIAL
from tests.support.transformers_models import FACTS, NUM_TOKENS, build

# A cache of its own kind (MiniMax), or a pass that reads values, which a meta tensor does not have.
CACHE_CANNOT_BE_BUILT = ("biogpt", "dbrx", "minimax", "minimax_text_01")


@pytest.mark.parametrize("model_type", architectures())
def test_weights_and_cache_are_those_of_transformers(model_type: str) -> None:
    """Parameters within 0.5 %, with and without the vocabulary's; the cache but for a window's query."""
    built = build(model_type)
    read = ModelGeometry.from_config(built.config, model_type)
    assert read.num_parameters == pytest.approx(built.num_parameters, rel=5e-3)
    vocabulary = (1 if read.has_tied_embeddings else 2) * read.vocabulary_size * read.hidden_size
    layers = built.num_parameters - built.num_vocabulary_parameters
    assert read.num_parameters - vocabulary == pytest.approx(layers, rel=5e-3)
    assert read.weight_bytes == pytest.approx(2 * built.num_parameters, rel=5e-3)
    if model_type in CACHE_CANNOT_BE_BUILT or not read.num_attention_layers:
        return
    queries = 0.0  # transformers keeps a window less the query
    if read.window:
        queries = read.kv_bytes(NUM_TOKENS) - read.kv_bytes(NUM_TOKENS) * (1 - 1 / read.window.window_tokens)
    assert read.kv_bytes(NUM_TOKENS) == pytest.approx(2 * built.cached_values(), abs=queries)


def test_the_registry_is_whole() -> None:
    """Everything it refers to exists; every architecture but those known under another name has defaults."""
    known = architectures()
    assert {rule.recurrent for rule in known.values()} - {""} == RECURRENT.keys()
    assert SPECIAL.keys() <= known.keys() and FACTS.keys() <= known.keys()
    assert {rule.attention for rule in known.values()} == {
        "full", "windowed", "every", "above_max_window_layers",
    }  # fmt: skip
    assert all(rule.attention_every > 1 for rule in known.values() if rule.attention == "every")
    assert known.keys() - class_defaults().keys() == {"kimi_k2", "minimax_text_01", "bailing_moe_v2"}
    assert all(rule.defaults.get("vocab_size") for rule in known.values())


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        LatencyError, match=r'x: model_type "qwen9" is no known architecture; did you mean qwen'
    ):
        architecture("qwen9", "x")
    for odd in (None, 3, ["llama"], "a\nb"):
        with pytest.raises(LatencyError, match="is no known architecture") as caught:
            architecture(odd, "x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model_type", ["zamba2", "gemma3n_text", "rwkv", "bert", "kimi_linear", "falcon_h1"])
def test_architectures_that_transformers_knows_and_svsim_does_not(model_type: str) -> None:
    config = {"model_type": model_type, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    with pytest.raises(LatencyError, match=f'"{model_type}" is no known architecture'):
        ModelGeometry.from_config(config, "x")
