"""Feasible sets: the models that obey a size."""
