"""Limits of rules whose gradient is l x, with l a function of the scores <x, theta> and <x, theta*> (section 20)."""
