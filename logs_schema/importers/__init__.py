"""Log formats: one small module each, and `run` that feeds what they find to the store."""
