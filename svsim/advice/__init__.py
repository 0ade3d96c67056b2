"""What to run tonight: acceptance and a server in, a decision and a configuration out.

``evidence`` is what is known of acceptance, ``search`` asks the replay about lengths and batch sizes,
``decision`` makes one answer per batch size of it, ``ladder`` and ``configurations`` write it as engines take
it, ``view`` says it in words; ``asking`` understands the caller, ``advise`` puts all together.
"""
