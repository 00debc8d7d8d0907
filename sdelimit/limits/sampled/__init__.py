"""Limits sampled over histories of gradients."""
