"""Prompts files: JSON Lines or plain text.

JSON Lines (``.jsonl``): one object per line with ``prompt`` (text) or ``prompt_token_ids`` (list of
integers), and optionally ``id`` and ``task``. Text: one prompt per line, ``\\n`` for a line break
inside a prompt. The order of the file is the order of the requests.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from svsim.errors import InputError
from svsim.reading import MAX_FILE_BYTES, parse_json, read_bytes
from svsim.trace_capture.settings import LongPrompts


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as the file has it: text or token ids (exactly one of them is None)."""

    request_id: str
    text: str | None
    token_ids: tuple[int, ...] | None
    task: str | None
    line: int


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    """What the models read: ``token_ids`` is never empty."""

    request_id: str
    token_ids: tuple[int, ...]
    task: str | None


class Encoder(Protocol):
    """Text to token ids, special tokens included."""

    def __call__(self, text: str) -> list[int]: ...


def read_prompts(path: Path, max_requests: int | None = None) -> list[Prompt]:
    """The prompts of a file, in order. Raises InputError naming file and line."""
    expected = "a prompts file, JSON Lines or text"
    try:
        lines = read_bytes(path, expected, MAX_FILE_BYTES).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; expected {expected}") from None
    is_json = path.suffix in (".jsonl", ".json")
    prompts = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            prompts.append(_from_json(path, number, line) if is_json else _from_text(number, line))
        if max_requests is not None and len(prompts) == max_requests:
            break
    if not prompts:
        raise InputError(f"{path}: holds no prompt; expected one per line")
    seen: dict[str, int] = {}
    for prompt in prompts:
        if prompt.request_id in seen:
            raise InputError(
                f"{path}:{prompt.line}: id {prompt.request_id!r} is already used in line "
                f"{seen[prompt.request_id]}; expected unique ids"
            )
        seen[prompt.request_id] = prompt.line
    return prompts


def _from_text(number: int, line: str) -> Prompt:
    return Prompt(f"line-{number}", line.replace("\\n", "\n"), None, None, number)


def _from_json(path: Path, number: int, line: str) -> Prompt:
    where = f"{path}:{number}"
    row = parse_json(line, where, "one object per line", strict=False)
    if not isinstance(row, dict) or ("prompt" in row) == ("prompt_token_ids" in row):
        raise InputError(f"{where}: expected an object with either prompt or prompt_token_ids")
    text, token_ids = row.get("prompt"), row.get("prompt_token_ids")
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: prompt is {type(text).__name__}; expected text")
    if token_ids is not None:
        token_ids = _checked_ids(where, token_ids)
    task = row.get("task")
    return Prompt(
        str(row.get("id", f"line-{number}")), text, token_ids, None if task is None else str(task), number
    )


def _checked_ids(where: str, ids: Any) -> tuple[int, ...]:
    is_list = isinstance(ids, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in ids)
    if not is_list or any(i < 0 for i in ids):
        raise InputError(f"{where}: prompt_token_ids must be a list of non-negative integers")
    return tuple(ids)


def tokenize(
    prompts: list[Prompt],
    encode: Encoder,
    path: Path,
    *,
    vocabulary_size: int,
    max_prompt_tokens: int,
    long_prompts: LongPrompts,
) -> tuple[list[TokenizedPrompt], int]:
    """Token ids of every prompt, and how many prompts were skipped as too long.

    Raises InputError (file and line) for an empty prompt, an id outside the vocabulary, or, with
    ``long_prompts="raise"``, a prompt that leaves no room for the output.
    """
    kept, num_skipped = [], 0
    for prompt in prompts:
        where = f"{path}:{prompt.line}"
        ids = prompt.token_ids if prompt.text is None else tuple(encode(prompt.text))
        if not ids:
            raise InputError(f"{where}: the prompt is empty; expected at least one token")
        if max(ids) >= vocabulary_size:
            raise InputError(f"{where}: token id {max(ids)} is outside the vocabulary of {vocabulary_size}")
        if len(ids) > max_prompt_tokens:
            if long_prompts == "raise":
                raise InputError(
                    f"{where}: the prompt has {len(ids)} tokens; at most {max_prompt_tokens} leave room for "
                    "the output in the models' context; shorten it, or leave it out (--long-prompts skip)"
                )
            num_skipped += 1
            continue
        kept.append(TokenizedPrompt(prompt.request_id, ids, prompt.task))
    if not kept:
        raise InputError(
            f"{path}: every prompt is longer than {max_prompt_tokens} tokens; expected at least one that fits"
        )
    return kept, num_skipped
