"""Scheduling: which ticks are due, who runs each of them, and what became of it.

``due`` says which ticks of a job are to be run, ``ledger`` claims each of them for one
process, ``member`` makes that process known, ``runner`` puts the three together. The jobs
themselves are handed in by whoever drives: nothing here imports one.
"""
