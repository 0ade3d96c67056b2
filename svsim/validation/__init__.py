"""The replay against what really happens.

Reading guide: ``bench`` (a user's measured results), ``device_loop`` (real passes driven by the replay's
steps), ``hardware_in_the_loop`` (the comparison), ``live_run`` (trained models really generating).
``svsim.metrics.accuracy`` defines every error that is reported.
"""
