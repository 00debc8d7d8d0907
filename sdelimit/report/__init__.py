"""Tables and figures of curves."""
