"""What the commands share: compiled programs that are kept, and warnings in one line."""

import functools
import warnings

import click

from sdelimit.support.compiled import discard_damaged, enable_cache, is_enabled, turned_off
from sdelimit.support.terminal import wrapped


def computes(command):
    """A command that compiles programs: with the option --no-cache, and its warnings in a line each."""

    @click.option(
        "--no-cache",
        is_flag=True,
        help="Do not keep compiled programs for the next command (SDELIMIT_CACHE=off), nor use those of earlier ones; "
        "SDELIMIT_CACHE=FOLDER keeps them there.",
    )
    @functools.wraps(command)
    def run(*arguments, no_cache, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = OneLine()
            if not no_cache and not turned_off() and not is_enabled():
                enable_cache()
            return command(*arguments, **options)

    return run


class OneLine:
    """In place of ``warnings.showwarning``: the text alone, once, without the line of code that it came from."""

    def __init__(self):
        self.said = set()

    def __call__(self, message, category, filename, lineno, file=None, line=None):
        text = " ".join(str(message).split())
        if issubclass(category, DeprecationWarning | PendingDeprecationWarning | ResourceWarning):
            return  # to be read by who writes programs
        if discard_damaged(text):
            text = "a program in the cache of compiled programs was damaged; it is compiled again"
        if text not in self.said:
            self.said.add(text)
            click.echo(wrapped(text, "    ", "warning: "), err=True)
