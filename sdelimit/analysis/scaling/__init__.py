"""How the loss falls with model size, steps and compute."""
