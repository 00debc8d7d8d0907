"""Recursive filters."""


def lfilter(b, a, x, **options):
    """``scipy.signal.lfilter``, imported by the first call: with it come statistics, for half a second."""
    from scipy import signal

    return signal.lfilter(b, a, x, **options)
