"""Numbers that stand in for zero and infinity where those would make a NaN or an infinity of a ratio or a logarithm.

They are far beyond every risk, variance or rate of a problem that floating point can hold, so that they decide nothing
but the case they stand in for.
"""

TINY = 1e-300
"""For 0 as a divisor or under a logarithm, in float64: normal (the least is 2.2e-308), with a finite reciprocal."""
TINY_RISK = 1e-290
"""For a risk of 0 that others are measured against: its product with a tolerance of 1e-10 is not below ``TINY``."""
TINY_FLOAT32 = 1e-30
"""For 0 as a divisor in float32, whose least normal number is 1.2e-38; below it float32 risks lose digits."""
NEGLIGIBLE = 1e-30
"""Fraction of the natural scale of a risk below which it is rounding error: under the square of float64's 2e-16."""
HUGE = 1e300
"""For infinity in float64, where infinity minus infinity would be NaN; 1 / ``TINY``."""
BLOW_UP = 1e12
"""A risk this many times its natural scale counts as diverged."""
