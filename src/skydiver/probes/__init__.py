"""Shelf of topology sources: one module each."""
