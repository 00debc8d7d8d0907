"""Precision, compiled calls, splines, random numbers."""
