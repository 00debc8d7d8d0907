"""Limits in closed form or by quadrature."""
