"""Statistical models of searches: from expected events to -2 ln L, as pytrees."""
