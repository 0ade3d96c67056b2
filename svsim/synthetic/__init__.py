"""Synthetic traces with chosen acceptance, information and burstiness."""
