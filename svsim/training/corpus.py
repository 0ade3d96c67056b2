"""Text that is found on any machine with Python, with the licence of every source noted.

code   the standard library's Python sources.
prose  the standard library's docstrings and language reference topics, and licence texts.

With ``include_packages`` the installed distributions are added (their sources, docstrings and
descriptions), each under the licence its own metadata states. Nothing is executed or imported: sources
are read and parsed as text.
"""

import ast
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from svsim.errors import InputError

MIN_CHARS = 400
MAX_FILE_BYTES = 1 << 20
HELD_OUT_SHARE = 0.06
STANDARD_LIBRARY_LICENCE = "PSF-2.0 (Python Software Foundation License)"


@dataclass(frozen=True, slots=True)
class Document:
    """One text; ``name`` is unique and does not depend on where Python is installed."""

    name: str
    task: str
    text: str

    @property
    def is_held_out(self) -> bool:
        """Whether it is kept from training: decided by the name, the same on every machine."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little") < HELD_OUT_SHARE * 2**32


@dataclass(slots=True)
class Corpus:
    """Documents in a fixed order, and source -> licence."""

    documents: list[Document] = field(default_factory=list)
    licences: dict[str, str] = field(default_factory=dict)

    def texts(self, task: str | None = None, held_out: bool | None = None) -> list[str]:
        """Texts of a task (None: all), held out or not (None: both)."""
        return [
            document.text
            for document in self.documents
            if (task is None or document.task == task)
            and (held_out is None or document.is_held_out == held_out)
        ]


def collect_corpus(max_bytes: int, include_packages: bool = False) -> Corpus:
    """About ``max_bytes`` of text at most, half of it code if there is enough of both.

    Raises InputError where the standard library's sources are not on disk.
    """
    corpus = Corpus()
    budgets = {"code": max_bytes // 2, "prose": max_bytes // 2}
    _take(corpus, _standard_library(), budgets)
    if not corpus.documents:
        raise InputError(
            f"{sysconfig.get_path('stdlib')}: holds no Python sources; expected an ordinary installation"
        )
    corpus.licences["Python standard library: sources, docstrings, reference topics, licence"] = (
        STANDARD_LIBRARY_LICENCE
    )
    if include_packages:
        for distribution in sorted(metadata.distributions(), key=_name_of):
            if _take(corpus, _package(distribution), budgets):
                corpus.licences[_name_of(distribution)] = _licence_of(distribution)
    return corpus


def _take(corpus: Corpus, documents: Iterator[Document], budgets: dict[str, int]) -> bool:
    """Add what the budgets of code and prose allow; whether anything was added."""
    is_used = False
    for document in documents:
        size = len(document.text)
        if size >= MIN_CHARS and budgets[document.task] >= size:
            budgets[document.task] -= size
            corpus.documents.append(document)
            is_used = True
        if max(budgets.values()) < MIN_CHARS:
            break
    return is_used


def _standard_library() -> Iterator[Document]:
    folder = Path(sysconfig.get_path("stdlib"))
    for place in (folder, Path(sys.base_prefix)):
        for path in sorted(place.glob("LICENSE*")):
            yield Document(f"python/{path.name}", "prose", _read(path))
    topics = folder / "pydoc_data" / "topics.py"
    yield Document("python/reference-topics", "prose", _long_constants(_read(topics)))
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    files = {name: path for name, path in files.items() if "-packages" not in name and path != topics}
    for name in sorted(files, key=_shuffled):
        yield from _sources(f"python/{name}", files[name])


def _package(distribution: metadata.Distribution) -> Iterator[Document]:
    name = _name_of(distribution)
    yield Document(f"{name}/description", "prose", str(distribution.metadata.json.get("description", "")))
    files = {str(file): file for file in distribution.files or [] if file.suffix == ".py"}
    for file_name in sorted(files, key=_shuffled):
        yield from _sources(f"{name}/{file_name}", Path(str(files[file_name].locate())))


def _shuffled(name: str) -> bytes:
    """Sort key of a fixed random order, so that a small budget still meets all kinds of sources."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _sources(name: str, path: Path) -> Iterator[Document]:
    """A Python file twice over: its source as code, its longer docstrings as prose."""
    source = _read(path)
    texts = [text.strip() for text in re.findall(r'"""(.*?)"""', source, re.DOTALL) if len(text) > 200]
    yield Document(name, "code", source)
    yield Document(f"{name}#texts", "prose", "\n\n".join(texts))


def _long_constants(source: str) -> str:
    """The paragraphs that a module holds as string constants (it is parsed, never run)."""
    constants = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return "\n\n".join(text for text in constants if isinstance(text, str) and len(text) > 200)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _name_of(distribution: metadata.Distribution) -> str:
    return str(distribution.metadata["Name"] or "unnamed")


def _licence_of(distribution: metadata.Distribution) -> str:
    fields = distribution.metadata.json
    stated = str(fields.get("license_expression") or fields.get("license") or "").strip()
    if stated:
        return stated.splitlines()[0][:80]
    classifiers = [c for c in fields.get("classifier", []) if str(c).startswith("License ::")]
    return str(classifiers[0]).rpartition("::")[2].strip() if classifiers else "not stated"
