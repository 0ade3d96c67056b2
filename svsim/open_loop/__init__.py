"""Open-loop serving from a question to rows: ``face`` asks, ``understand`` checks, ``rows`` answers."""
