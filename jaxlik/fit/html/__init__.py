"""Reports as one HTML page: every run directory gets a `report.html` that needs no network."""
