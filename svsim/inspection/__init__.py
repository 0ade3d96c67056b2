"""Looking into a trace: sizes, acceptance, what its signals are worth, whether it is sound."""
