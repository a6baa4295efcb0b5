"""Known networks: which there are, what a conversion makes of them, and the page that says so."""
