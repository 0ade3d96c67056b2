"""How methods and deployments are spelled, as the command line has it: ``sv:k=7``, ``h100_sxm:tp=4``."""

from collections.abc import Mapping


def params_text(params: Mapping[str, int | float | str]) -> str:
    """``k=7,objective=accepted``."""
    return ",".join(f"{key}={value}" for key, value in params.items())


def method_label(method: str, params: Mapping[str, int | float | str]) -> str:
    """``name:key=value,...``."""
    inside = params_text(params)
    return f"{method}:{inside}" if inside else method


def deployment_name(hardware: str, tensor_parallel: int | None, options: str | None = None) -> str:
    """A deployment as ``--hardware`` spells it."""
    parts = [] if tensor_parallel is None else [f"tp={tensor_parallel}"]
    parts += [options] if options else []
    return f"{hardware}:{','.join(parts)}" if parts else hardware
