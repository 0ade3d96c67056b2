"""Measurements on one GPU: how large (scale), where (place), parts a to c (measure), part d (compare)."""
