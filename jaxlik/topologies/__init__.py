"""Decomposition of any spectrum into the topologies that published maps see (host only)."""
