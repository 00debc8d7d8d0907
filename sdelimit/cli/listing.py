"""The command that says what there is. No computation."""

import json

import click

from sdelimit.experiments.catalogue import KINDS, NO_DEFAULT, entries
from sdelimit.support.terminal import wrapped


@click.command(name="list")
@click.argument("what", required=False, type=click.Choice(list(KINDS)))
@click.option("--json", "as_json", is_flag=True, help="As JSON, and nothing else.")
def list_command(what, as_json):
    """Optimizers, noise laws, covariances, schedules, models and data sets, with their parameters and defaults.

    Texts for the options of the other commands are NAME, or NAME:VALUE,VALUE,PARAMETER=VALUE; names count in any case,
    with or without underscores: signSGD is sign_sgd.
    """
    chosen = [what] if what else list(KINDS)
    if as_json:
        click.echo(json.dumps({name: [_record(entry) for entry in entries(name)] for name in chosen}, indent=2))
    else:
        click.echo("\n\n".join(map(_section, chosen)))


def _record(entry):
    """An entry as JSON: defaults as they are where JSON has them, and as texts otherwise."""
    parameters = [
        {"name": name, "required": value is NO_DEFAULT and not name.startswith("*"), "default": _plain(value)}
        for name, value in entry.parameters.items()
    ]
    return {
        "name": entry.name,
        "parameters": parameters,
        "description": entry.description,
        "example": entry.example,
        "on_command_line": entry.example is not None,
    }


def _plain(value):
    if value is NO_DEFAULT:
        return None
    return value if value is None or (isinstance(value, bool | int | float | str) and value == value) else repr(value)


def _section(what):
    kind, lines, listed = KINDS[what], [], entries(what)
    lines.append(wrapped(f"{what} ({kind.option}){kind.beside and ': '}{kind.beside}", "    ", ""))
    for entry in listed:
        if entry.example is not None:
            lines += _lines(entry, entry.example)
    rest = [entry for entry in listed if entry.example is None]
    if rest:
        lines.append("  in Python only:")
        for entry in rest:
            lines += _lines(entry, "")
    return "\n".join(lines)


def _lines(entry, example):
    head = f"{entry.name}({entry.signature})" if not example else f"{entry.name}  {entry.signature}".rstrip()
    shown = [wrapped(f"for example {example}", "      ")] if ":" in example else []
    return [wrapped(head, "      ", "  "), wrapped(entry.description, "      "), *shown]
