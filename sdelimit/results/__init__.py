"""Curves, with what made them, and how far to trust them."""
