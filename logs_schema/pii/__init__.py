"""Personal data in logs: found by pattern, and replaced by placeholders before anything is stored."""
