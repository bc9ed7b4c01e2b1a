"""Errors that a user reads: one line with the key, the value and what would be right."""

from __future__ import annotations

import difflib


class ConfigError(ValueError):
    """A wrong key or value in a config or on the command line; the message is the one line that the user sees."""


def unknown(key: str, choices, instead=()) -> str:
    """One line for an unknown key: its name, the nearest known one, and all of them.

    Args:
        instead: full keys that may have been meant.
    """
    name, where = key.rsplit(".", 1)[-1], key.rsplit(".", 1)[0] if "." in key else ""
    near = list(instead) or difflib.get_close_matches(name, list(choices), 1)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    takes = f"{where} takes" if where else "keys are"
    return f"{key}: unknown key{hint}; {takes}: {', '.join(choices)}"


def describe_yaml(error, file) -> str:
    """The file, the line, and what YAML cannot read there."""
    line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
    return f"{file}{line}: not readable as YAML ({one_line(error.problem)})"


def one_line(error) -> str:
    return " ".join(str(error).split())
