"""Shelf of packet sources: one module each."""
