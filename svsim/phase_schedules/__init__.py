"""Schedules of phases (ExeGPT, arXiv 2404.07947): prompts and decoding in turns, or on GPUs of their own."""
