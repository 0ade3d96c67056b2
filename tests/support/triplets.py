"""A triplet trained in seconds, shared by the tests that need real models."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def triplet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny triplet: target/, draft/, companion/ and prompts_*.jsonl."""
    from svsim.training.triplet import TripletSettings, train_triplet

    folder = tmp_path_factory.mktemp("triplet")
    train_triplet(
        TripletSettings(
            folder, size="test", max_steps=40, num_prompts=10, num_prompt_tokens=(6, 20), device="cpu"
        )
    )
    return folder
