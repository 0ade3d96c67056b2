"""Sizes that several rooms agree on."""

# K, draft tokens per output position, of any trace, method and capture: a length from 0 to K fits in a byte.
MAX_SPECULATIVE_TOKENS = 255
