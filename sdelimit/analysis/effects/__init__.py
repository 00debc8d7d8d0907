"""The four effects in which a rule differs from SGD (theory: section 5)."""
