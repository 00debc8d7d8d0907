"""The weights with which a moving average remembers past gradients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """Weights now * (j == 0) + past * decay^j of the gradient j steps ago."""

    now: float
    past: float
    decay: float

    @property
    def first(self) -> float:
        """The weight of the newest gradient, j = 0."""
        return self.now + self.past

    @property
    def squares(self) -> "Weights":
        """The squares of the weights."""
        return Weights(self.first**2 - self.past**2, self.past**2, self.decay**2)
