"""Any transformers model read in pieces gives the logits of plain passes, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_captures import settings_for
from torch import Tensor

from svsim.errors import InfeasibleError, InputError
from svsim.trace_capture.cached_model import CachedModel, check_reads_chains
from svsim.trace_capture.coherent_chains import ChainOptions, Triple, Uniforms, record_chains
from svsim.trace_capture.model_loading import load_models
from svsim.trace_capture.prompts import read_prompts
from svsim.trace_capture.settings import SamplingSettings


class CheckedModel:
    """Answers from the cache, and compares every answer with a plain pass over the whole text."""

    def __init__(self, cached: CachedModel) -> None:
        self.cached, self.num_checked = cached, 0
        self.text = torch.zeros(0, 0, dtype=torch.long)

    def start(self, prompts: list[tuple[int, ...]], capacity: int) -> None:
        self.cached.start(prompts, capacity)
        self.text = torch.zeros(len(prompts), capacity + 1, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            self.text[row, : len(prompt)] = torch.as_tensor(prompt)

    @torch.inference_mode()
    def logits(self, rows: Tensor, tokens: Tensor, first_position: Tensor) -> Tensor:
        found = self.cached.logits(rows, tokens, first_position)
        width = tokens.shape[1]
        for i, row in enumerate(rows.tolist()):
            first = int(first_position[i])
            self.text[row, first : first + width] = tokens[i]
            plain = self.cached.model(
                input_ids=self.text[row : row + 1, : first + width], use_cache=False
            ).logits
            torch.testing.assert_close(found[i], plain[0, first:], rtol=1e-4, atol=1e-4)
            self.num_checked += 1
        return found


def test_cached_passes_are_plain_passes(triplet: Path, tmp_path: Path) -> None:
    loaded = load_models(settings_for(triplet, tmp_path / "x.parquet"))
    checked = {role: CheckedModel(model) for role, model in loaded.models.items()}
    prompts = [p.token_ids for p in read_prompts(triplet / "prompts_code.jsonl", 5)]
    uniforms = Uniforms.draw([np.random.default_rng(i) for i in range(5)], 25, 4)
    record = record_chains(
        Triple(checked["target"], checked["draft"], checked["companion"]),  # type: ignore[arg-type]
        prompts,  # type: ignore[arg-type]
        uniforms,
        ChainOptions(SamplingSettings(), 4, 25),
    )
    assert checked["draft"].num_checked > 150
    assert 0 < record.num_accepted.mean() < 4


def test_architecture_with_its_own_state_is_refused() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    from svsim.device.extras import quiet_transformers

    quiet_transformers()
    config = MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, bos_token_id=0, eos_token_id=0)
    with pytest.raises(InputError, match=r"mamba: .*(cannot be captured|moves its logits)"):
        check_reads_chains(CachedModel(MambaForCausalLM(config).eval(), 64), "mamba")


def tiny_model(architecture: str, **config: Any) -> Any:
    import transformers

    from svsim.device.extras import quiet_transformers

    quiet_transformers()
    sizes = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    values = {**sizes, "intermediate_size": 48, "max_position_embeddings": 128, **ids, **config}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, architecture)(**values))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3)  # attention that attends: a wrong mask would show
    return CachedModel(model.float().eval(), 96)


MIXTURE = {"num_key_value_heads": 2, "num_experts_per_tok": 2}


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 8}),
        ("Gemma2Config", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 64}),
        ("GPT2Config", {"n_positions": 128}),
        ("GPTNeoXConfig", {}),
        ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
        ("FalconConfig", {}),
        ("MixtralConfig", {**MIXTURE, "num_local_experts": 4}),
        ("Qwen3MoeConfig", {**MIXTURE, "head_dim": 8, "num_experts": 4, "moe_intermediate_size": 16}),
    ],
)
def test_architectures_that_read_chains(architecture: str, config: dict[str, Any]) -> None:
    check_reads_chains(tiny_model(architecture, **config), architecture)


def test_architecture_with_a_mask_of_its_own_is_refused() -> None:
    with pytest.raises(InputError, match=r"bloom: this architecture cannot be captured \(") as caught:
        check_reads_chains(tiny_model("BloomConfig", n_layer=2, n_head=4), "bloom")
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = tiny_model("LlamaConfig")
    next(model.model.parameters()).data.fill_(torch.nan)
    with pytest.raises(
        InputError, match="llama: its logits are not numbers; use another dtype or other weig"
    ):
        check_reads_chains(model, "llama")


def test_memory_too_small_for_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("LlamaConfig")

    def full(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.model, "forward", full)
    with pytest.raises(InfeasibleError, match="llama: not even two short sequences fit into the memory"):
        check_reads_chains(model, "llama")
