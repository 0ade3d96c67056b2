"""A real triplet without any hub: target, draft and companion trained from scratch on this machine.

One byte-level BPE tokenizer for all three, Llama architecture, text of ``corpus.py``. The result is a
folder with ``target/``, ``draft/`` and ``companion/`` (safetensors), ``prompts_code.jsonl``,
``prompts_prose.jsonl`` and ``prompts_mixed.jsonl`` cut from held-out documents, and ``triplet.json``.

These are real models with real disagreement between them, and small ones: what is learnt about
acceptance on them is evidence about mechanisms, not about any large model.
"""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from svsim.device.extras import Device, quiet_transformers, require_extra, software_versions, torch_device
from svsim.errors import InputError, require
from svsim.progress import OnProgress, Progress
from svsim.random_streams import RandomStreams
from svsim.training.corpus import Corpus, collect_corpus

END_OF_TEXT = "<|end|>"
TASKS = ("code", "prose", "mixed")
# share of the training time; the target gets the most because it is to be clearly the best
TIME_SHARES = {"target": 0.7, "companion": 0.18, "draft": 0.12}
WARM_UP_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A Llama model; the head size is hidden_size / num_heads."""

    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class TripletSize:
    """Sizes of everything; ``corpus_bytes`` of text, windows of ``context`` tokens in training."""

    target: ModelSize
    draft: ModelSize
    companion: ModelSize
    vocabulary_size: int
    corpus_bytes: int
    context: int
    batch_tokens: int


SIZES = {
    # about 163 M, 5.3 M and 13.8 M parameters
    "gpu": TripletSize(
        target=ModelSize(896, 16, 14, 2432, 6e-4),
        draft=ModelSize(256, 4, 4, 704, 2e-3),
        companion=ModelSize(384, 6, 6, 1024, 1.5e-3),
        vocabulary_size=8192,
        corpus_bytes=120_000_000,
        context=512,
        batch_tokens=32768,
    ),
    # about 720,000, 45,000 and 170,000 parameters: small enough that a minute of one core teaches them
    "cpu": TripletSize(
        target=ModelSize(128, 3, 4, 344, 4e-3),
        draft=ModelSize(32, 1, 2, 96, 8e-3),
        companion=ModelSize(64, 2, 2, 176, 6e-3),
        vocabulary_size=1024,
        corpus_bytes=12_000_000,
        context=128,
        batch_tokens=1024,
    ),
    # for tests: trains in seconds
    "test": TripletSize(
        target=ModelSize(48, 2, 4, 96, 5e-3),
        draft=ModelSize(16, 1, 2, 32, 1e-2),
        companion=ModelSize(24, 1, 2, 48, 1e-2),
        vocabulary_size=320,
        corpus_bytes=2_000_000,
        context=64,
        batch_tokens=512,
    ),
}


@dataclass(frozen=True, slots=True)
class TripletSettings:
    """``minutes`` of training over all three models, or ``max_steps`` each (then same seed, same bytes)."""

    folder: Path
    size: Literal["gpu", "cpu", "test"] = "gpu"
    minutes: float = 6.0
    max_steps: int | None = None
    num_prompts: int = 256
    num_prompt_tokens: tuple[int, int] = (32, 96)
    include_packages: bool = False
    seed: int = 0
    device: Device = "cuda"

    def __post_init__(self) -> None:
        require(self.size in SIZES, f"size = {self.size}; expected one of {', '.join(SIZES)}")
        require(self.minutes > 0, f"minutes = {self.minutes}; expected > 0")
        require(self.max_steps is None or self.max_steps >= 1, f"max_steps = {self.max_steps}; expected >= 1")
        low, high = self.num_prompt_tokens
        require(1 <= low <= high, f"num_prompt_tokens = {low}..{high}; expected 1 <= low <= high")


def train_triplet(settings: TripletSettings, on_progress: OnProgress | None = None) -> dict[str, Any]:
    """Train and save the three models and their prompts; returns what ``triplet.json`` holds."""
    require_extra("torch", "transformers", "tokenizers")
    quiet_transformers()
    torch_device(settings.device)
    size = SIZES[settings.size]
    corpus = collect_corpus(size.corpus_bytes, settings.include_packages)
    tokenizer = _train_tokenizer(corpus, size.vocabulary_size)
    settings.folder.mkdir(parents=True, exist_ok=True)
    tokens = {held_out: _encode(tokenizer, corpus.texts(held_out=held_out)) for held_out in (False, True)}
    if len(tokens[True]) <= 2 * size.context:
        raise InputError(f"only {len(tokens[True])} held-out tokens were found; expected a larger corpus")
    report: dict[str, Any] = {
        "settings": {**asdict(settings), "folder": settings.folder.name},
        "sizes": asdict(size),
        "num_training_tokens": len(tokens[False]),
        "num_held_out_tokens": len(tokens[True]),
        "software": software_versions(),
        "licences": corpus.licences,
        "models": {},
    }
    for role in TIME_SHARES:
        report["models"][role] = _train_model(settings, role, tokens, tokenizer, on_progress)
    _write_prompts(settings, corpus, tokenizer)
    (settings.folder / "triplet.json").write_text(json.dumps(report, indent=1, sort_keys=True))
    return report


def _train_tokenizer(corpus: Corpus, vocabulary_size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # merges settle long before the whole corpus is read
    texts, budget = [], 20_000_000
    for text in corpus.texts(held_out=False):
        budget -= len(text)
        if budget < 0:
            break
        texts.append(text)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _encode(tokenizer: Any, texts: list[str]) -> NDArray[np.int32]:
    end = tokenizer.token_to_id(END_OF_TEXT)
    pieces = [np.array([*encoding.ids, end], np.int32) for encoding in tokenizer.encode_batch(texts)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int32)


def _new_model(size: TripletSize, shape: ModelSize, end: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size.vocabulary_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            num_key_value_heads=shape.num_heads,
            max_position_embeddings=8 * size.context,
            tie_word_embeddings=True,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=None,
        )
    )


def _train_model(
    settings: TripletSettings,
    role: str,
    tokens: dict[bool, NDArray[np.int32]],
    tokenizer: Any,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    import torch
    from transformers import PreTrainedTokenizerFast

    size = SIZES[settings.size]
    shape: ModelSize = getattr(size, role)
    device = torch_device(settings.device)
    streams = RandomStreams(settings.seed)
    torch.manual_seed(int(streams.generator(f"weights of the {role}").integers(2**31)))
    model = _new_model(size, shape, tokenizer.token_to_id(END_OF_TEXT)).to(device)
    pace = _Pace(settings, role)
    windows = _Windows(tokens[False], size.context, streams.generator(f"batches of the {role}"), device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=shape.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=device.type == "cuda",
    )
    num_steps, last_loss = 0, float("nan")
    model.train()
    while not pace.is_over(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = shape.learning_rate * _schedule(pace.share(num_steps))
        loss = _loss(model, windows.draw(max(1, size.batch_tokens // size.context)), device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        num_steps += 1
        if num_steps % 20 == 0:
            last_loss = float(loss.detach())
            if on_progress is not None:
                on_progress(pace.progress(num_steps))
    held_out = _held_out_loss(model.eval(), tokens[True], size, device)
    folder = settings.folder / role
    model.to(torch.float32).cpu().save_pretrained(folder, safe_serialization=True)
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT).save_pretrained(folder)
    return {
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_steps": num_steps,
        "num_tokens_seen": num_steps * size.batch_tokens,
        "training_s": pace.elapsed_s,
        "last_training_loss_nats": last_loss,
        "held_out_loss_nats": held_out,
    }


class _Pace:
    """How far the training of one model is: by steps if they are given, else by the clock."""

    def __init__(self, settings: TripletSettings, role: str) -> None:
        self.role, self.max_steps = role, settings.max_steps
        self.budget_s = 60 * settings.minutes * TIME_SHARES[role]
        self.started = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started

    def share(self, num_steps: int) -> float:
        return num_steps / self.max_steps if self.max_steps else self.elapsed_s / self.budget_s

    def is_over(self, num_steps: int) -> bool:
        return self.share(num_steps) >= 1.0

    def progress(self, num_steps: int) -> Progress:
        return Progress(f"training the {self.role}, %", int(100 * self.share(num_steps)), 100, self.elapsed_s)


def _schedule(share: float) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if share < WARM_UP_SHARE:
        return (share + 1e-3) / WARM_UP_SHARE
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


class _Windows:
    """Random windows of context + 1 tokens, [N, context + 1] on the device."""

    def __init__(
        self, tokens: NDArray[np.int32], context: int, rng: np.random.Generator, device: Any
    ) -> None:
        import torch

        self.tokens = torch.as_tensor(tokens, device=device)
        self.context, self.rng, self.device = context, rng, device

    def draw(self, num: int) -> Any:
        import torch

        starts = self.rng.integers(0, len(self.tokens) - self.context - 1, num)
        offsets = torch.arange(self.context + 1, device=self.device)
        return self.tokens[torch.as_tensor(starts, device=self.device)[:, None] + offsets].long()


def _loss(model: Any, windows: Any, device: Any) -> Any:
    """Mean negative log likelihood in nats per token; bfloat16 matrix products on a GPU."""
    import torch

    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


def _held_out_loss(model: Any, tokens: NDArray[np.int32], size: TripletSize, device: Any) -> float:
    """Mean loss over at most 32 batches of consecutive held-out windows."""
    import torch

    length = size.context + 1
    num = min(len(tokens) // length, 32 * max(1, size.batch_tokens // size.context))
    windows = torch.as_tensor(tokens[: num * length], device=device).view(num, length).long()
    batch = max(1, size.batch_tokens // size.context)
    with torch.inference_mode():
        losses = [_loss(model, windows[i : i + batch], device) for i in range(0, num, batch)]
    return float(torch.stack(losses).mean())


def _write_prompts(settings: TripletSettings, corpus: Corpus, tokenizer: Any) -> None:
    """Windows out of held-out documents, as token ids; mixed takes code and prose in turn."""
    rng = RandomStreams(settings.seed).generator("prompts")
    low, high = settings.num_prompt_tokens
    pools = {}
    for task in ("code", "prose"):
        documents = [e.ids for e in tokenizer.encode_batch(corpus.texts(task, held_out=True))]
        documents = [ids for ids in documents if len(ids) > high]
        if not documents:
            raise InputError(
                f"no held-out {task} document has more than {high} tokens; expected a larger corpus"
            )
        pools[task] = documents
    for task in TASKS:
        lines = []
        for i in range(settings.num_prompts):
            pool = pools[("code", "prose")[i % 2] if task == "mixed" else task]
            ids = pool[rng.integers(len(pool))]
            start = int(rng.integers(len(ids) - high))
            cut = ids[start : start + int(rng.integers(low, high + 1))]
            lines.append(json.dumps({"id": f"{task}-{i:04d}", "task": task, "prompt_token_ids": cut}))
        (settings.folder / f"prompts_{task}.jsonl").write_text("\n".join(lines) + "\n")
