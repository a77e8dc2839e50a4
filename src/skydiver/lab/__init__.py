"""Network namespaces, links and traffic for demo, tests and benchmarks."""

from skydiver.lab.lab import Lab, Namespace, Process, wait_until

__all__ = ["Lab", "Namespace", "Process", "wait_until"]
