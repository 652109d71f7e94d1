"""Fusion trunks: encoded nodes to task nodes ``[B, T, width]``, one trunk per file."""
