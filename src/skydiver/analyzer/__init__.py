"""The analyzer: hub, graph of all hosts, objects and API in one process."""
