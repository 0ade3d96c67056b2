"""One module per published system, and the numbers of its paper as data beside it.

How to add a system (20 to 100 lines):

1. ``NAME.json``: the numbers the paper prints, grouped by table; ``source`` says where each group stands
   (paper, table, arXiv id). Only numbers that may be shown: what is to be judged apart is asked for by
   parameters instead.
2. ``NAME.py``: ``SYSTEM = System(name, title, paper, law, evidence, parameters, ask)``.
   ``evidence(sheet)`` writes one row per published number: ``sheet.predict`` (nothing of the row was used;
   ``within`` is the tolerance), ``sheet.calibrate`` (a free number of the law was set on it), ``sheet.take``
   (used as printed), ``sheet.leave_open`` (nothing here can predict it: say why). ``sheet.say`` for what the
   rows show, ``sheet.contradict`` where that is not what the paper says, with the arithmetic.
   ``ask(sheet, values)`` writes the rows for the caller's ``parameters``, each with its range.
3. The law itself, if it is a formula, goes to ``svsim/closed_forms.py``: methods use the same one. Heavy
   imports (NumPy, price models) stay inside the functions: the command line reads this table at its start.
4. One line in ``svsim/papers/table.py``, then ``python docs/make_papers.py``.

The tests of ``tests/papers`` cover every system of the table.
"""
