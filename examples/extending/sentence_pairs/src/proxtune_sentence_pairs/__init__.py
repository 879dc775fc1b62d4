"""Sentence-pair classification: does one sentence entail, repeat or answer the other?"""
