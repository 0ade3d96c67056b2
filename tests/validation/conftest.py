"""Tiny models for the tests that need torch."""

import json
from importlib.util import find_spec

import pytest

NEEDS_TORCH = (
    "test_device_loop.py",
    "test_hardware_in_the_loop.py",
    "test_live_run.py",
    "test_retest.py",
)
# tests/collect/test_extras.py says in the report why they are missing
if find_spec("torch") is None or find_spec("transformers") is None:
    collect_ignore = list(NEEDS_TORCH)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of three geometries, by role."""
    root = tmp_path_factory.mktemp("geometries")
    models = {}
    for role, hidden in (("target", 32), ("draft", 16), ("companion", 24)):
        folder = root / role
        folder.mkdir()
        shape = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
        config = {"hidden_size": hidden, "num_hidden_layers": 2, "vocab_size": 61, **shape}
        (folder / "config.json").write_text(json.dumps(config))
        models[role] = str(folder)
    return models
