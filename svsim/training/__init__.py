"""Small models trained from scratch on this machine."""
