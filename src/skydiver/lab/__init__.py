"""Network namespaces, links and traffic for demo, tests and benchmarks."""
