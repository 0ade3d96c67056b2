"""Prompts for a small chat model, made here: chat, code, summarization and retrieval-like questions.

    python calibration/chat_prompts.py --tokenizer MODEL --num 256 --part capture --out prompts.jsonl

A prompt is a subject of one of the lists below in one of several forms; what is summarized or asked
about are paragraphs of the documentation that every Python installation brings (PSF licence). Subjects
and paragraphs are split once, by a hash of their text: those of the part ``capture`` are never seen by a
drafter that learnt from the part ``training``. The model's own chat template is applied, if it has one.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from svsim.random_streams import RandomStreams
from svsim.training.corpus import collect_corpus

Part = Literal["training", "capture"]
TASKS = ("chat", "code", "summarization", "retrieval")
CAPTURE_SHARE = 0.3
PARAGRAPH_CHARS = (300, 900)

SUBJECTS = """
why bread rises; how tides work; the water cycle; planting tomatoes; learning to swim; the history of
paper; how vaccines work; saving money on food; the rules of chess; how a bicycle stays upright; the
French Revolution; making good coffee; volcanoes; how to sleep better; the life of bees; electric cars;
a visit to Rome; recycling glass; how batteries store energy; training a dog; the Silk Road; black
holes; writing a letter of complaint; how bridges carry loads; the food of Japan; first aid for burns;
public libraries; how rainbows form; a healthy breakfast; the moon landing; caring for a cactus; the
printing press; deserts; how planes fly; job interviews; the Great Wall of China; making soap; how the
heart pumps blood; meditation; glaciers; a birthday party for children; how refrigerators cool; the
Roman army; composting; whales; choosing a laptop; the invention of the telephone; how the eye sees;
knitting; earthquakes; the Olympic Games; repairing a flat tyre; how money is made; penguins; the stock
market; building a treehouse; photosynthesis; a week in Norway; how locks work; the Renaissance; growing
herbs indoors; lightning; the orchestra; how search engines rank pages; running a first marathon;
ancient Egypt; baking without eggs; coral reefs; how satellites stay in orbit; arguing politely; the
immune system; sailing; wind power; how glass is made; the Industrial Revolution; choosing a bicycle;
spiders; remembering names; how rivers change; the planet Mars; pottery; how elections are counted;
camping in the rain; the brain; tea; how magnets work; the history of maps; learning a language;
rainforests; fixing a dripping tap; how clocks keep time; owls; moving to a new city; steam engines; the
Vikings; how muscles grow; gardening in small spaces; jazz; the ozone layer; public speaking; how cheese
is made
""".replace("\n", " ").split(";")

CHAT_FORMS = (
    "Explain {} to a ten-year-old.",
    "Write a short note on {}.",
    "Give me five useful facts or tips about {}.",
    "I have to give a talk on {}. Draft an opening.",
    "What do people most often get wrong about {}?",
    "Write a short story in which {} plays a part.",
    "List the steps or stages of {} and say a sentence on each.",
    "Compare what beginners and experts think of {}.",
)

PROGRAMS = """
reverses a string; checks whether a number is prime; sorts a list of names by length; counts the words
of a text; computes the greatest common divisor of two numbers; finds the largest item of a list;
converts Celsius to Fahrenheit; removes duplicates from a list and keeps the order; checks whether a
word is a palindrome; computes the first n Fibonacci numbers; merges two sorted lists; counts how often
each letter occurs; flattens a nested list; reads a CSV file and adds up a column; computes the
factorial of a number; searches a sorted list by bisection; transposes a matrix; validates an e-mail
address; generates a random password; computes the mean and median of a list; turns a number into Roman
numerals; rotates a list by k places; finds all anagrams of a word in a list; parses a date; implements
a stack; implements a queue with two stacks; computes compound interest; finds the shortest path in a
graph; balances brackets; draws a triangle of stars; downloads nothing and prints the time of day;
shuffles a deck of cards; computes the distance of two points; multiplies two matrices; splits a bill
between friends; finds missing numbers in a sequence; encodes text with a Caesar cipher; counts the days
between two dates; groups words by first letter; keeps a shopping list; checks a Sudoku row; prints a
multiplication table; converts seconds to hours and minutes; finds the second smallest number; computes
a moving average; converts binary to decimal; walks a binary tree in order; capitalizes every word;
computes the area of a polygon; simulates rolling two dice
""".replace("\n", " ").split(";")

CODE_FORMS = (
    "Write a Python function that {}.",
    "Write a Python function that {}, with a docstring and an example of its use.",
    "Write a JavaScript function that {}.",
    "Write a small Python class around something that {}, and explain it.",
    "Write a Python function that {}, then write tests for it.",
)


def in_part(text: str, part: Part) -> bool:
    """Whether a subject or paragraph belongs to the part: decided by its text, the same everywhere."""
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return (int.from_bytes(digest, "little") < CAPTURE_SHARE * 2**32) == (part == "capture")


def paragraphs(part: Part) -> list[str]:
    """Prose of the standard library's documentation, in pieces that fit a small model's context."""
    low, high = PARAGRAPH_CHARS
    found = []
    for text in collect_corpus(8_000_000).texts("prose"):
        for piece in re.split(r"\n\s*\n", text):
            flat = " ".join(piece.split())
            if low <= len(flat) <= high and flat.count(" ") > len(flat) / 10 and in_part(flat, part):
                found.append(flat)
    return found


def messages(part: Part, num: int, seed: int) -> Iterator[tuple[str, str]]:
    """``num`` pairs (task, user message), the tasks in turn."""
    rng = RandomStreams(seed).generator("chat-prompts", *part.encode())
    texts = paragraphs(part)
    subjects = [s.strip() for s in SUBJECTS if in_part(s.strip(), part)]
    programs = [p.strip() for p in PROGRAMS if in_part(p.strip(), part)]
    makers: dict[str, Callable[[], str]] = {
        "chat": lambda: _pick(rng, CHAT_FORMS).format(_pick(rng, subjects)),
        "code": lambda: _pick(rng, CODE_FORMS).format(_pick(rng, programs)),
        "summarization": lambda: f"Summarize the following text in a few sentences.\n\n{_pick(rng, texts)}",
        "retrieval": lambda: _question(rng, texts),
    }
    for i in range(num):
        task = TASKS[i % len(TASKS)]
        yield task, makers[task]()


def _pick(rng: np.random.Generator, items: Any) -> str:
    return str(items[int(rng.integers(len(items)))])


def _question(rng: np.random.Generator, texts: list[str]) -> str:
    """Three passages and a question about a word of one of them, as a retrieval system would ask."""
    chosen = [_pick(rng, texts) for _ in range(3)]
    words = sorted(set(re.findall(r"[A-Za-z_]{6,}", chosen[int(rng.integers(3))])))
    passages = "\n".join(f"[{i + 1}] {text}" for i, text in enumerate(chosen))
    word = _pick(rng, words) if words else "this"
    return (
        f"Use only these passages.\n{passages}\n\nWhat do the passages say about {word}? Quote where you can."
    )


def encode(tokenizer: Any, message: str) -> list[int]:
    """Token ids of a user's message in the model's chat template, ready for the assistant's answer."""
    if tokenizer.chat_template is None:
        return list(tokenizer(message)["input_ids"])
    chat = [{"role": "user", "content": message}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def write_prompts(tokenizer: Any, out: Path, part: Part, num: int, seed: int) -> None:
    """A prompts file for ``svsim capture``."""
    lines = [
        json.dumps({"id": f"{task}-{i:04d}", "task": task, "prompt_token_ids": encode(tokenizer, message)})
        for i, (task, message) in enumerate(messages(part, num, seed))
    ]
    out.write_text("\n".join(lines) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", required=True, help="the model whose template and tokens are used")
    parser.add_argument("--num", type=int, default=256)
    parser.add_argument("--part", choices=["training", "capture"], default="capture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    from svsim.trace_capture.checkpoints import load_tokenizer

    write_prompts(load_tokenizer(args.tokenizer), args.out, args.part, args.num, args.seed)


if __name__ == "__main__":
    main()
