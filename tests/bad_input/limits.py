"""Room limits."""

import sdelimit as sl
from bad_input.rows import value
from sdelimit.limits.exact.long_memory_adam import long_memory_adam_limit

TABLE = [value(long_memory_adam_limit, "c2 must be > 0", 0.0, sl.noise.NoNoise(), 1)]
