"""Shelf of storage backends: one module each."""
