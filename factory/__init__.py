"""Groundmill: from RAG failure logs to a proven adapter."""

__version__ = "0.1.0"
