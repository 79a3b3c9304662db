"""Training data: guarded, composed and split without leaks from what curators decided."""
