"""Sizes that several rooms agree on."""

# K, draft tokens per output position, of any trace, method and capture: a length from 0 to K fits in a byte.
MAX_SPECULATIVE_TOKENS = 255

MAX_BOOTSTRAP_GROUPS = 4096  # more requests (or static batches) than this share groups
