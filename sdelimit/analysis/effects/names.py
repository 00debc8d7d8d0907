"""The names of the four effects (theory: section 5), and of weight decay where a rule has it."""

EFFECTS = ("learning_rate", "preconditioning", "noise_compression", "noise_reshaping")
WEIGHT_DECAY = "weight_decay"
NAMES = {name: name.replace("_", " ") for name in (*EFFECTS, WEIGHT_DECAY)}


def effects_of(limit) -> tuple[str, ...]:
    """The names of what tells a rule from SGD."""
    return (*EFFECTS, WEIGHT_DECAY) if limit.weight_decay > 0 else EFFECTS
