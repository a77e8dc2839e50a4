"""Python client of the API, used by our own command line."""
