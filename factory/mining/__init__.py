"""Finds the bad answers whose context was good, says why, and fills the review queue."""
