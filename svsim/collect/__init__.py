"""Traces and step times from real hardware (extra ``capture``: torch, transformers).

Words
-----
capture       three language models really generate; every output position's chain of draft tokens is
              scored by all three and written as a dense coherent trace (``capture.py``).
calibration   one decoder's forward pass is timed over batch, new tokens and context (``calibrate.py``).
recorder      a hook for an engine's own loop: one call per step and sequence (``recorder.py``).
triplet       target, draft and companion trained from scratch on text of this machine (``triplet.py``).

Reading order: ``settings.py``, ``sampling.py``, ``coherent_chains.py``, ``capture.py``;
for calibration ``decoder.py``, ``device_timer.py``, ``calibrate.py``.
Importing this package loads neither torch nor transformers; its functions do, when called.
"""
