"""The directive ``commandline``: the reference of ``xr-locality``, from its own parsers."""

from __future__ import annotations

import argparse

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from xr_locality.cli import COMMANDS, Command

_PROGRAM = "xr-locality"


class CommandlineDirective(SphinxDirective):
    """Describes each subcommand in a section of its own."""

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        return [self._section(name, command) for name, command in COMMANDS.items()]

    def _section(self, name: str, command: Command) -> nodes.section:
        title = f"{_PROGRAM} {name}"
        section = nodes.section(ids=[nodes.make_id(title)], names=[title])
        section += nodes.title("", "", nodes.literal("", title))
        self.state.nested_parse(StringList(_described(title, command), "cli"), 0, section)
        return section


def _described(title: str, command: Command) -> list[str]:
    parser = argparse.ArgumentParser(prog=title, add_help=False)
    command.add_arguments(parser)
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = [
        _sentence(command.summary),
        "",
        "```console",
        f"$ {usage}",
        "```",
        "",
        f":::{{program}} {title}",
        ":::",
        "",
    ]
    for action in parser._actions:
        shown = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        names = ", ".join(f"{each} {shown}".strip() for each in action.option_strings)
        lines += [f":::{{option}} {names or shown}", "", _sentence(action.help), ":::", ""]
    return lines


def _sentence(text: str | None) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commandline", CommandlineDirective)
    return {"parallel_read_safe": True}
