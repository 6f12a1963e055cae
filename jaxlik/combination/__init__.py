"""Which results may be combined, and the best combination of them."""
