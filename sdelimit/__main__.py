"""``python -m sdelimit``: the command line."""

from sdelimit.cli import run

if __name__ == "__main__":
    run()
