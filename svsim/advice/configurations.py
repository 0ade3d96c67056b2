"""Advice as configurations that engines take, ready to paste.

Words and keys: vLLM 0.33 (``--speculative-config``), SGLang 0.5.23, TensorRT-LLM's
``--extra_llm_api_options`` YAML, llama.cpp's server. What was assumed of acceptance comes along as the
engine's own switch that accepts drafts at random: the speed is real then, the text is not. It is a comment,
never part of what is to be served.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from svsim.advice.ladder import Rung, words
from svsim.errors import InputError, printable

RATE_DIGITS, LENGTH_DIGITS = 4, 3


@dataclass(frozen=True, slots=True)
class Serving:
    """What is to be served. rates: cumulative acceptance of the longest draft, by position.

    draft_model: path of the draft model or head; None: none is needed. draft_shards: GPUs that share it.
    batched_tokens: new tokens of a step at most; None: the engine's default.
    """

    target: str
    tensor_parallel: int
    drafter: str
    draft_model: str | None
    draft_shards: int
    ladder: tuple[Rung, ...]
    rates: tuple[float, ...]
    verdict: tuple[str, ...]
    batched_tokens: int | None = None

    @property
    def longest(self) -> int:
        """Draft tokens of the longest rung; 0: nothing speculates."""
        return max((rung.k for rung in self.ladder), default=0)

    @property
    def at_load(self) -> int:
        """The length of the largest batch size that speculates, for engines without a ladder."""
        return next((rung.k for rung in reversed(self.ladder) if rung.k), 0)

    @property
    def most_requests(self) -> int:
        """Of the last rung."""
        return self.ladder[-1].end

    def tokens_flag(self, name: str) -> str:
        """`` --name N`` where a limit of a step's tokens is said."""
        return "" if self.batched_tokens is None else f" --{name} {self.batched_tokens}"

    def length(self, k: int) -> float:
        """Mean acceptance length that is assumed of k draft tokens, bonus included."""
        return round(1.0 + sum(self.rates[:k]), LENGTH_DIGITS)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One engine's. settings: what a ``.json`` file holds, what it is for; text: what any other holds."""

    settings: Mapping[str, Any]
    text: str

    def content(self, path: str) -> str:
        """Of a file with that name."""
        return json.dumps(self.settings, indent=2) + "\n" if path.endswith(".json") else self.text


def _text(serving: Serving, served: str, tried: str | None, *notes: str) -> str:
    """The verdict as comments, what serves, and (commented out) what tries the assumption."""
    lines = [*serving.verdict, f"Draft tokens by requests at once: {words(serving.ladder)}.", *notes]
    text = "".join(f"# {printable(line, 400)}\n" for line in lines) + served + "\n"
    if tried and serving.longest:
        text += (
            "\n# To try what was assumed: drafts are accepted at random, at these rates. The speed is real, "
            "the text is not.\n"
        )
        text += "".join(f"# {line}\n" for line in tried.splitlines())
    return text


def _placeholder(serving: Serving) -> tuple[str, ...]:
    is_missing = serving.draft_model is not None and serving.draft_model.isupper()
    return (f"Put the path of your {serving.drafter} for {serving.draft_model}.",) if is_missing else ()


def _name(serving: Serving, names: Mapping[str, str], engine: str) -> str:
    if serving.drafter not in names:
        raise InputError(
            f"`emit` {engine}: it has no setting for drafter {serving.drafter}; choose one of "
            f"{', '.join(names)}"
        )
    return names[serving.drafter]


VLLM = {"model": "draft_model", "ngram": "ngram"} | {n: n for n in ("eagle", "eagle3", "mtp", "dflash")}


def vllm(serving: Serving) -> Configuration:
    """``--speculative-config``: the ladder as ranges [first, last, k]; 0 switches speculation off."""
    base = f"vllm serve {shlex.quote(serving.target)} --tensor-parallel-size {serving.tensor_parallel}"
    base += f" --max-num-seqs {serving.most_requests}" + serving.tokens_flag("max-num-batched-tokens")
    method = _name(serving, VLLM, "vllm")
    if not serving.longest:
        return Configuration({}, _text(serving, base, None))
    settings: dict[str, Any] = {"method": method}
    if serving.draft_model is not None:
        settings["model"] = serving.draft_model
    settings["num_speculative_tokens"] = serving.longest
    if len(serving.ladder) > 1:
        ranges = [[rung.start, rung.end, rung.k] for rung in serving.ladder]
        settings["num_speculative_tokens_per_batch_size"] = ranges
    if method == "draft_model" and serving.tensor_parallel > 1:
        settings["draft_tensor_parallel_size"] = serving.draft_shards
    rates = [round(rate, RATE_DIGITS) for rate in serving.rates]
    tried = {**settings, "rejection_sample_method": "synthetic", "synthetic_acceptance_rates": rates}
    served, trying = (
        f"{base} \\\n  --speculative-config {shlex.quote(json.dumps(one))}" for one in (settings, tried)
    )
    return Configuration(settings, _text(serving, served, trying, *_placeholder(serving)))


SGLANG = {
    **{"model": "STANDALONE", "eagle": "EAGLE", "eagle3": "EAGLE3", "mtp": "NEXTN"},
    **{"ngram": "NGRAM", "dflash": "DFLASH"},
}
SGLANG_ADAPTIVE = ("EAGLE", "EAGLE3", "NEXTN")
ADAPTIVE_FILE = "adaptive.json"


def sglang(serving: Serving) -> Configuration:
    """Flags of ``sglang.launch_server``; the ladder as candidate steps by batch size, where it takes one."""
    base = f"python -m sglang.launch_server --model-path {shlex.quote(serving.target)}"
    base += f" --tp {serving.tensor_parallel} --max-running-requests {serving.most_requests}"
    base += serving.tokens_flag("chunked-prefill-size")
    algorithm = _name(serving, SGLANG, "sglang")
    if not serving.longest:
        return Configuration({}, _text(serving, base, None))
    has_ladder = algorithm in SGLANG_ADAPTIVE and len(serving.ladder) > 1
    k = serving.longest if has_ladder else serving.at_load
    settings: dict[str, Any] = {"speculative-algorithm": algorithm}
    if serving.draft_model is not None:
        settings["speculative-draft-model-path"] = serving.draft_model
    if algorithm != "NGRAM":
        settings |= {"speculative-num-steps": k, "speculative-eagle-topk": 1}
    settings["speculative-num-draft-tokens"] = k + 1
    flags = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in settings.items())
    notes = [*_placeholder(serving)]
    served = f"{base} \\\n  {flags}"
    if has_ladder:
        adaptive = {str(rung.start): {"candidate_steps": [rung.k]} for rung in serving.ladder}
        settings |= {"speculative-adaptive": True, "speculative-adaptive-config": adaptive}
        served += f" \\\n  --speculative-adaptive --speculative-adaptive-config {ADAPTIVE_FILE}"
        served = f"cat > {ADAPTIVE_FILE} <<'JSON'\n{json.dumps(adaptive)}\nJSON\n{served}"
    elif len(serving.ladder) > 1:
        notes.append(f"SGLang has no ladder for {algorithm}: k = {k} is that of the largest load that gains.")
    tried = f"SGLANG_SIMULATE_ACC_LEN={serving.length(k):g} {base} {flags}"
    return Configuration(settings, _text(serving, served, tried, *notes))


TRTLLM = {"model": "DraftTarget", "eagle": "Eagle", "eagle3": "Eagle3", "mtp": "MTP", "ngram": "NGram"}


def trtllm(serving: Serving) -> Configuration:
    """``speculative_config`` of the YAML; the schedule's first length is its longest, as it demands."""
    kind = _name(serving, TRTLLM, "trtllm")
    run = (
        f"Serve: trtllm-serve {serving.target} --tp_size {serving.tensor_parallel} "
        f"--max_batch_size {serving.most_requests}{serving.tokens_flag('max_num_tokens')} "
        "--extra_llm_api_options THIS_FILE"
    )
    first = serving.ladder[0].k
    if not first:
        why = "speculation does not pay at 1 request" if serving.longest else "nothing speculates"
        return Configuration({}, _text(serving, f"# no speculative_config: {why}", None, run))
    settings: dict[str, Any] = {"decoding_type": kind, "max_draft_len": first}
    if serving.draft_model is not None:
        settings["speculative_model"] = serving.draft_model
    steps = {1: first} | {rung.end: min(rung.k, first) for rung in serving.ladder}
    while steps[max(steps)] == 0:  # above the last key there is no speculation
        steps.pop(max(steps))
    lines = [f"  {name}: {json.dumps(value)}" for name, value in settings.items()]
    lines.append(f"  draft_len_schedule: {{{', '.join(f'{size}: {k}' for size, k in steps.items())}}}")
    tried = (
        f"export TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS={serving.length(first) - 1:.3g}  "
        "# of draft tokens, without the bonus"
    )
    text = _text(serving, "\n".join(["speculative_config:", *lines]), tried, run, *_placeholder(serving))
    schedule = {str(size): k for size, k in steps.items()}
    return Configuration({"speculative_config": {**settings, "draft_len_schedule": schedule}}, text)


LLAMACPP = {"model": "draft-simple", "eagle3": "draft-eagle3", "mtp": "draft-mtp", "dflash": "draft-dflash"}


def llamacpp(serving: Serving) -> Configuration:
    """Flags of ``llama-server``: one length, that of the largest load that gains."""
    base = f"llama-server --model {shlex.quote(serving.target)} --parallel {serving.most_requests}"
    base += serving.tokens_flag("batch-size")
    kind, k = _name(serving, LLAMACPP, "llamacpp"), serving.at_load
    if not k:
        return Configuration({}, _text(serving, base, None))
    settings: dict[str, Any] = {"spec-type": kind}
    if serving.draft_model is not None:
        settings["spec-draft-model"] = serving.draft_model
    settings |= {"spec-draft-n-max": k, "spec-draft-n-min": 0, "spec-draft-p-min": 0.0}
    flags = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in settings.items())
    notes = [*_placeholder(serving), "llama.cpp has no ladder: one length for every load, and no switch that"]
    notes[-1] += " accepts drafts at random."
    return Configuration(settings, _text(serving, f"{base} \\\n  {flags}", None, *notes))


ENGINES: Mapping[str, Callable[[Serving], Configuration]] = {
    "vllm": vllm,
    "sglang": sglang,
    "trtllm": trtllm,
    "llamacpp": llamacpp,
}
