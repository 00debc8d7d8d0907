"""Limits of rules whose gradient is x l', l in R^m a function of the scores Theta' x and Theta*' x (section 22)."""
