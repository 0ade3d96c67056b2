"""The triplet script: sizes, corpus, prompts, determinism."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from svsim.errors import InputError
from svsim.training.corpus import collect_corpus
from svsim.training.triplet import SIZES, TripletSettings, _new_model, train_triplet


def test_sizes_are_as_promised() -> None:
    with torch.device("meta"):
        millions = {
            role: sum(
                p.numel() for p in _new_model(SIZES["gpu"], getattr(SIZES["gpu"], role), 0).parameters()
            )
            / 1e6
            for role in ("target", "draft", "companion")
        }
    assert millions["target"] >= 150
    assert 5 <= millions["draft"] < millions["companion"] <= 20


def test_corpus_notes_its_licence_and_keeps_documents_apart() -> None:
    corpus = collect_corpus(1_000_000)
    assert any("PSF" in licence for licence in corpus.licences.values())
    assert len({document.name for document in corpus.documents}) == len(corpus.documents)
    assert sum(map(len, corpus.texts())) <= 1_000_000
    held_out = corpus.texts(held_out=True)
    assert 0 < len(held_out) < 0.2 * len(corpus.documents)
    assert len(held_out) + len(corpus.texts(held_out=False)) == len(corpus.documents)
    assert "def " in corpus.texts("code")[0] or "import " in corpus.texts("code")[0]
    again = collect_corpus(1_000_000)
    assert again == corpus


def test_installed_packages_come_with_their_licences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda: [metadata.distribution("pytest")])
    alone, corpus = collect_corpus(10**9), collect_corpus(10**9, include_packages=True)
    assert corpus.licences["pytest"] == "MIT"
    assert len(corpus.documents) > len(alone.documents)


def test_triplet_folder(triplet: Path) -> None:
    report = json.loads((triplet / "triplet.json").read_text())
    assert report["models"]["target"]["held_out_loss_nats"] < 5.8, "worse than guessing among 320 tokens"
    assert report["settings"]["folder"] == triplet.name, "no path of this machine"
    for task in ("code", "prose", "mixed"):
        rows = [json.loads(line) for line in (triplet / f"prompts_{task}.jsonl").read_text().splitlines()]
        assert len(rows) == 10 and len({row["id"] for row in rows}) == 10
        assert all(6 <= len(row["prompt_token_ids"]) <= 20 and row["task"] == task for row in rows)


def test_same_steps_and_seed_same_weights(tmp_path: Path) -> None:
    weights = []
    for name in ("a", "b"):
        train_triplet(
            TripletSettings(
                tmp_path / name,
                size="test",
                max_steps=3,
                num_prompts=2,
                num_prompt_tokens=(4, 8),
                device="cpu",
            )
        )
        weights.append(
            [(tmp_path / name / r / "model.safetensors").read_bytes() for r in ("target", "draft")]
        )
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0.0}, "minutes = 0.0; expected > 0"),
        ({"max_steps": 0}, "max_steps = 0; expected >= 1"),
        ({"num_prompt_tokens": (9, 3)}, r"num_prompt_tokens = 9\.\.3"),
        ({"size": "huge"}, "size = huge; expected one of gpu, cpu, test"),
    ],
)
def test_bad_settings(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TripletSettings(tmp_path, **changes)  # type: ignore[arg-type]
