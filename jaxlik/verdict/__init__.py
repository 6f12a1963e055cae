"""Any model in, a verdict out: predictions, r-values and likelihoods of one spectrum."""
