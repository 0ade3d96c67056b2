"""Open-loop serving: requests arrive, wait, are prefilled and decoded by replicas with a KV budget.

Reading guide: ``arrivals`` and ``lengths`` say what is asked, ``settings`` how a replica schedules.
"""
