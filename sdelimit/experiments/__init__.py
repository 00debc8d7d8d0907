"""Many runs and their files: comparison runs, sweeps, rerun."""
