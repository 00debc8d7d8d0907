"""The names of the four effects (theory: section 5)."""

EFFECTS = ("learning_rate", "preconditioning", "noise_compression", "noise_reshaping")


NAMES = {name: name.replace("_", " ") for name in EFFECTS}
