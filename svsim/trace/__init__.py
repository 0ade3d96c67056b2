"""What a run is fed: traces of drafted tokens and their acceptance, loaded, checked, imported or made."""
