"""Limits measured on the update of a rule that is known only as code."""
