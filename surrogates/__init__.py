"""Training of neural surrogates for efficiency maps."""
