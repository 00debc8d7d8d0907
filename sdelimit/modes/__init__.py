"""Coordinates in which a problem decouples (theory: section 3)."""
