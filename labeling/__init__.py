"""Review by curators in Argilla: push records, pull decisions, and the embedded server."""
