"""Is it real? Significances of all regions, pseudo-databases, the global p-value."""
