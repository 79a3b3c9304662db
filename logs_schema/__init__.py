"""What a RAG system logged, and every table that the factory keeps about it.

This package is light (pydantic, orjson and sqlmodel only), so that a production application can
install it and write records itself.
"""

from logs_schema.recorder import rag_feedback, rag_log

__all__ = ["rag_feedback", "rag_log"]
