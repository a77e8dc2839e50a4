"""Captures and other API resources: types, and the store contract."""
