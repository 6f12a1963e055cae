"""Posterior over models whose content changes: exact reversible jumps, trajectories, evidences.

`target`, `proposals`, `moves`, `trajectories`, `nuts`, `kernel`, `warmup`, `smc` and `diagnostics`
know only bits and vectors; `model`, `contents`, `births` and `sampler` apply them to models of
new physics.
"""
