"""Findings: conditions that need a person; opened and closed with patience, kept as history."""
