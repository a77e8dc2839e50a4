"""Shelf of Gremlin steps: one module each."""
