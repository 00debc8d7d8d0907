"""The risk ODE: what a limit predicts for the risk."""
