"""What the commands share: options, compiled programs that are kept, warnings in one line. No computation."""

import contextlib
import functools
import json
import math
import warnings

import click

from sdelimit.support.terminal import wrapped

UNSAID = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning)
"""To be read by who writes programs."""


def computes(command):
    """A command that compiles programs: with the option --no-cache, and its warnings in a line each."""

    @click.option(
        "--no-cache",
        is_flag=True,
        help="Do not keep compiled programs for the next command, nor use those of earlier ones. SDELIMIT_CACHE=off "
        "says the same for all, SDELIMIT_CACHE=FOLDER says where to keep them.",
    )
    @functools.wraps(command)
    def run(*arguments, no_cache, **options):
        from sdelimit.support.compiled import enable_cache, is_enabled, keep_nothing, turned_off

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = OneLine()
            if no_cache or turned_off():
                keep_nothing()
            elif not is_enabled():
                enable_cache()
            return command(*arguments, **options)

    return run


class OneLine:
    """In place of ``warnings.showwarning``: the text alone, once, without the line of code that it came from.

    Attributes:
        held: None, or the texts of doubts about results, which are then not shown but kept here.
    """

    def __init__(self):
        self.said, self.held = set(), None

    def __call__(self, message, category, filename, lineno, file=None, line=None):
        from sdelimit.results.trust import DivergenceWarning, LimitWarning
        from sdelimit.support.compiled import discard_damaged

        text = " ".join(str(message).split())
        if issubclass(category, UNSAID):
            return
        if discard_damaged(text):
            text = "a program in the cache of compiled programs was damaged; it is compiled again"
        if text in self.said:
            return
        self.said.add(text)
        if self.held is not None and issubclass(category, LimitWarning | DivergenceWarning):
            self.held.append(text)
        else:
            say(text)


def say(text):
    """A warning on standard error, in one line."""
    click.echo(f"warning: {text}", err=True)


@contextlib.contextmanager
def holding_doubts():
    """The doubts about results that come up inside, as a list of texts; said at once if there are no results."""
    shown = warnings.showwarning
    if not isinstance(shown, OneLine):  # under a test's own filters
        yield []
        return
    shown.held = doubts = []
    try:
        yield doubts
    except BaseException:
        for text in doubts:
            say(text)
        raise
    finally:
        shown.held = None


def echo_doubts(doubts):
    """The doubts about a table, under it."""
    if doubts:
        click.echo("\n" + "\n".join(wrapped(text, "    ", "  ! ") for text in doubts))


def echo_json(record):
    """A result as JSON on standard output; numbers that JSON does not have are null."""
    click.echo(json.dumps(finite(record), indent=2, default=str))


def finite(value):
    """``value`` with None in place of what is infinite or no number."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


as_json = click.option("--json", "as_json", is_flag=True, help="The numbers as JSON on standard output, nothing else.")
