"""Paths of the homogenized SDE."""
