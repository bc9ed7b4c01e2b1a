"""Forms of a network that chains see for speed: the same numbers for less time, each proved and measured."""

from ebm_cli.overrides.frozen import FrozenCopies

__all__ = ["FrozenCopies"]
