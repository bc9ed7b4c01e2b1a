"""From overrides to objects, without torch: schemas, options, checks, the one ``build``, the launch."""

from ebm_cli.config.build import build, plain
from ebm_cli.config.errors import ConfigError
from ebm_cli.config.options import option_node, options

__all__ = ["ConfigError", "build", "option_node", "options", "plain"]
