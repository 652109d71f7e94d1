"""Figures of a run, a task graph and their scores."""
