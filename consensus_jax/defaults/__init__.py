"""How the shipped adapters are made: from whose votes, by which runs."""
