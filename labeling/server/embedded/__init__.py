"""Argilla's server on SQLite alone, in one process.

This package runs in the server's own environment (`python -m embedded`), where only argilla-server's
packages are installed: it must not import anything of the factory.
"""
