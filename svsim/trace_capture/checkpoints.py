"""Checkpoints as people have them: Hugging Face folder or hub id, GGUF file, package.

GGUF weights are dequantized to the numbers the capture computes with; the trace says which quantization
they had. A package is only looked into for its GGUF file, never imported: data is not code.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svsim.device.extras import DataType, Device, quiet_transformers, require_extra, torch_device, torch_dtype
from svsim.device.out_of_memory import is_out_of_memory
from svsim.errors import InfeasibleError, InputError

WRONG_FILE = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError)
# of a shard set only the first file is named; the others have other numbers
FIRST_SHARD = "-00001-of-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model's files are. ``name``: as it was asked for; ``gguf``: the GGUF file, if it is one."""

    name: str
    folder: str
    gguf: Path | None = None

    @property
    def label(self) -> str:
        """The name a trace stores: no folders of this machine."""
        if self.gguf is not None:
            return self.gguf.name
        return Path(self.name).name if Path(self.name).exists() else self.name

    @property
    def keywords(self) -> dict[str, Any]:
        """What transformers' loaders need besides the folder."""
        return {} if self.gguf is None else {"gguf_file": self.gguf.name}


def find_checkpoint(name: str) -> Checkpoint:
    """The checkpoint a user named. Raises InputError, one line, for what is none."""
    path = Path(name).expanduser()
    if path.is_file():
        return _gguf(name, path)
    if path.is_dir():
        return _folder(name, path)
    if path.suffix == ".gguf" or name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise InputError(f"{name}: no such file or folder; {_expected(name)}")
    package = _package_folder(name)
    return Checkpoint(name, name) if package is None else _folder(name, package)


def _folder(name: str, path: Path) -> Checkpoint:
    if (path / "config.json").exists():
        return Checkpoint(name, str(path))
    files = sorted(path.glob("*.gguf"))
    if len(files) == 1:
        return _gguf(name, files[0])
    if files:
        listed = ", ".join(file.name for file in files[:4])
        raise InputError(f"{name}: holds {len(files)} GGUF files ({listed}); name one of them")
    return Checkpoint(name, str(path))


def _gguf(name: str, path: Path) -> Checkpoint:
    if path.suffix != ".gguf":
        raise InputError(f"{name}: a {path.suffix or 'plain'} file; {_expected(name)}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{name}: not a GGUF file (it does not begin with GGUF); {_expected(name)}")
    if "-of-" in path.stem and FIRST_SHARD not in path.stem:
        raise InputError(f"{name}: a later part of a split GGUF file; join the parts, or name the whole file")
    return Checkpoint(name, str(path.parent), path)


def _package_folder(name: str) -> Path | None:
    """Folder of an installed package that carries a GGUF file; None for any other name (a hub id)."""
    module = name.replace("-", "_")
    if not module.isidentifier():
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder if any(folder.glob("*.gguf")) else None


def load_tokenizer(checkpoint: Checkpoint | str) -> Any:
    """The checkpoint's tokenizer. Raises InputError, one line."""
    require_extra("torch", "transformers")
    quiet_transformers()
    from transformers import AutoTokenizer

    found = find_checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
    _need_gguf(found)
    try:
        return AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False, **found.keywords)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{found.name}: no tokenizer could be read ({_first_line(error)}); {_expected(found.name)}"
        ) from None


def own_vocabulary(checkpoint: Checkpoint, tokenizer: Any) -> dict[str, int]:
    """Token -> id. transformers adds a special token to a GGUF file's that the model has no row for."""
    entries: dict[str, int] = tokenizer.get_vocab()
    if checkpoint.gguf is None:
        return entries
    from gguf import GGUFReader

    num = len(GGUFReader(checkpoint.gguf).fields["tokenizer.ggml.tokens"].data)
    return {token: number for token, number in entries.items() if number < num}


def load_weights(
    checkpoint: Checkpoint | str, device: Device, dtype: DataType, trust_pickle_weights: bool = False
) -> Any:
    """The causal language model, on its device, in evaluation mode.

    Raises InputError, one line; InfeasibleError where the memory of the device is too small.
    """
    require_extra("torch", "transformers")
    found = find_checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
    _need_gguf(found)
    place = torch_device(device)
    model = _read(found, torch_dtype(dtype, device), trust_pickle_weights)
    try:
        return model.to(place).eval()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InfeasibleError(
            f"{found.name}: its weights do not fit into the memory that is left on {place}"
        ) from None


def _read(found: Checkpoint, dtype: Any, trust_pickle_weights: bool) -> Any:
    from transformers import AutoModelForCausalLM

    safetensors = {} if found.gguf else {"use_safetensors": None if trust_pickle_weights else True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            found.folder, dtype=dtype, trust_remote_code=False, **safetensors, **found.keywords
        )
    except WRONG_FILE as error:
        raise InputError(
            f"{found.name}: no model could be read ({_first_line(error)}); {_expected(found.name)}"
        ) from None
    except Exception as error:
        # safetensors raises its own exception type for a broken file
        if type(error).__module__.startswith("safetensors") or "Safetensor" in type(error).__name__:
            raise InputError(
                f"{found.name}: broken safetensors file ({_first_line(error)}); {_expected(found.name)}"
            ) from None
        raise
    return model if found.gguf is None else _as_dense(model)


def _as_dense(model: Any) -> Any:
    """The same weights in a model that does not take itself for a quantized one: it can be saved, too."""
    from transformers import AutoModelForCausalLM

    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    auto: Any = AutoModelForCausalLM
    dense = auto.from_config(config, dtype=model.dtype)
    dense.load_state_dict(model.state_dict())
    dense.generation_config = model.generation_config
    return dense


def quantization_of(checkpoint: Checkpoint) -> str | None:
    """The file's quantization (``Q4_1``): the type of most of its weights; None for other checkpoints."""
    if checkpoint.gguf is None:
        return None
    from gguf import GGUFReader

    count: dict[str, int] = {}
    for tensor in GGUFReader(checkpoint.gguf).tensors:
        kind = tensor.tensor_type.name
        count[kind] = count.get(kind, 0) + int(tensor.n_elements)
    return max(count, key=lambda kind: count[kind])


def file_digest(path: Path) -> str:
    """blake2b of a whole file, 16 bytes in hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _need_gguf(found: Checkpoint) -> None:
    if found.gguf is not None:
        require_extra("gguf", "accelerate")


def _expected(name: str) -> str:
    kind = "folder" if Path(name).is_dir() else "local folder or hub id"
    return f"expected a {kind} with config.json, tokenizer.json and *.safetensors, or a .gguf file"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
