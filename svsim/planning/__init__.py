"""Capacity planning: which method on which hardware, how many replicas, at what cost.

Reading guide, in the order of the data: ``options`` and ``traffic`` (what is asked), ``candidates`` (the
grid, understood as open-loop runs), ``bounds`` (which of them the analytic model rules out), ``pilot``,
``ladder`` and ``search`` (the largest rate of one candidate), ``choice`` (which is best, which could be),
``fleet`` (the replicas simulated), ``front`` (tokens per GPU against tokens per user), ``result``. ``plan``
puts them together and ``face`` asks.

Words
-----
candidate  one method on one deployment under one scheduler: what a replica may be.
rate       requests per second that one replica is offered.
capacity   requests per second that a replica completes while users keep it full (a closed loop).
margin     log of an objective's number over its limit: at most 0 where it is met.
"""
