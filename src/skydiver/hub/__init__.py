"""Agents and analyzers talking: messages, synchronisation, requests."""
