"""Runbooks: reading, filling in, showing and walking through the pages in ``/runbooks``."""
