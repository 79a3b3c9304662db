"""The embedded Argilla server: its environment, its process, and (in `embedded`) what runs there."""
