"""svsim: what does speculative decoding really do under load?

Reading guide, four files for the whole flow:

1. ``svsim/trace/token_trace.py``   what was recorded: signals and acceptance at every position
2. ``svsim/decoding/method.py``        what work a decoding method does, bound to arrays
3. ``svsim/engines/step.py``           one decoding step: plan, price, advance
4. ``svsim/engines/replay.py``         the closed loop that takes steps until every request is served
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from svsim.api import advise, analytic, info, replay, value
    from svsim.calibration.calibrate import calibrate
    from svsim.calibration.settings import CalibrationSettings
    from svsim.open_loop.face import serve_sim
    from svsim.planning.face import plan, plan_schedules
    from svsim.reproductions import reproduce
    from svsim.speculative_retrieval.strides import retrieval
    from svsim.sweeping.phase import phase
    from svsim.sweeping.sweep import sweep
    from svsim.trace.file import load_trace, save_trace
    from svsim.trace_capture.capture import capture
    from svsim.trace_capture.settings import CaptureSettings, SamplingSettings
    from svsim.version import __version__

_WHERE = {
    "advise": "svsim.api",
    "analytic": "svsim.api",
    "info": "svsim.api",
    "replay": "svsim.api",
    "reproduce": "svsim.reproductions",
    "value": "svsim.api",
    "serve_sim": "svsim.open_loop.face",
    "plan": "svsim.planning.face",
    "plan_schedules": "svsim.planning.face",
    "retrieval": "svsim.speculative_retrieval.strides",
    "phase": "svsim.sweeping.phase",
    "sweep": "svsim.sweeping.sweep",
    "load_trace": "svsim.trace.file",
    "save_trace": "svsim.trace.file",
    "capture": "svsim.trace_capture.capture",
    "calibrate": "svsim.calibration.calibrate",
    "CaptureSettings": "svsim.trace_capture.settings",
    "SamplingSettings": "svsim.trace_capture.settings",
    "CalibrationSettings": "svsim.calibration.settings",
    "__version__": "svsim.version",
}

__all__ = [
    "CalibrationSettings",
    "CaptureSettings",
    "SamplingSettings",
    "__version__",
    "advise",
    "analytic",
    "calibrate",
    "capture",
    "info",
    "load_trace",
    "phase",
    "plan",
    "plan_schedules",
    "replay",
    "reproduce",
    "retrieval",
    "save_trace",
    "serve_sim",
    "sweep",
    "value",
]


def __getattr__(name: str) -> Any:
    """Load public names on first use: ``import svsim`` costs nothing."""
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'svsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return list(__all__)
