"""Speculative retrieval (RaLMSpec, arXiv 2401.14021): a renewal model of its own, no traces and no GPU."""
