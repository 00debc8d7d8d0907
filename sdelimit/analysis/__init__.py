"""What is asked of curves: the four effects, stationary risk, learning rates, sharpness."""
