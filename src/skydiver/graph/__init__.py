"""Graph engine: elements, events, indexes, joins."""
