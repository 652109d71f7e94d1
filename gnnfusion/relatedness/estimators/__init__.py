"""One estimator a file: ``estimate(network, store, rows, seed) -> TaskGraph``."""
