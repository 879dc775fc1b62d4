"""Optimizers that look around: NNO and what it is made of."""
