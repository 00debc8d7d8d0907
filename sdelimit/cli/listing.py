"""The command that says what there is. No computation."""

import json

import click

from sdelimit.support.terminal import wrapped

LISTS = ("optimizers", "noises", "covariances", "schedules", "models", "data")


@click.command(name="list")
@click.argument("what", required=False, type=click.Choice(LISTS))
@click.option("--json", "as_json", is_flag=True, help="As JSON, and nothing else.")
def list_command(what, as_json):
    """Optimizers, noise laws, covariances, schedules, models and data sets, with their parameters and defaults.

    Texts for the options of the other commands are NAME, or NAME:VALUE,VALUE,PARAMETER=VALUE; names count in any case,
    with or without underscores: signSGD is sign_sgd.
    """
    from sdelimit.experiments.catalogue import entries

    chosen = [what] if what else LISTS
    if as_json:
        click.echo(json.dumps({name: [_record(entry) for entry in entries(name)] for name in chosen}, indent=2))
    else:
        click.echo("\n\n".join(map(_section, chosen)))


def _record(entry):
    """An entry as JSON: defaults as they are where JSON has them, and as texts otherwise."""
    from sdelimit.experiments.catalogue import NO_DEFAULT

    parameters = [
        {
            "name": name,
            "required": value is NO_DEFAULT and not name.startswith("*"),
            "default": None if value is NO_DEFAULT else _plain(value),
        }
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
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _section(what):
    from sdelimit.experiments.catalogue import KINDS, entries

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
