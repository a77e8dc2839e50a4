"""Vocabulary: node types, relations, well-known metadata, identifiers."""
