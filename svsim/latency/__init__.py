"""How long a forward pass takes: one protocol, several sources.

Start at ``model.py`` (the protocol) and ``shape.py`` (what is priced). ``price_table.py`` lays a model
out as plain arrays for the engines.
"""
