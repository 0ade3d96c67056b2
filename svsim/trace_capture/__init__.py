"""Traces from three real language models (extra ``capture``: torch, transformers).

capture       every output position's chain of draft tokens is scored by all three models and written as a
              dense coherent trace (``capture.py``).
recorder      a hook for an engine's own loop: one call per step and sequence (``recorder.py``).

Reading order: ``settings.py``, ``sampling.py``, ``coherent_chains.py``, ``capture.py``.
Importing this package loads neither torch nor transformers; its functions do, when called.
"""
