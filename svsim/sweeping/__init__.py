"""Any row-producing command over a grid: on all cores or a cluster, resumable, the same bytes everywhere.

``commands`` says what can be swept, ``grid`` reads a grid file, ``cells`` names every cell by a digest,
``work`` answers one (in whatever process), ``executors`` and ``clusters`` hand cells out, ``folder`` keeps
what is finished, ``sweep`` is the job; ``phase`` answers the question that most sweeps ask.
"""
