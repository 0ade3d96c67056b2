"""Requests to serve: when they arrive and how long they are, from the files that users have."""
