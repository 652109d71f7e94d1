"""Comparison of methods on one store: a plan of trials, trials in processes, and what they show."""
