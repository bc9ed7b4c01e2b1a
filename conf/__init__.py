"""The config groups of ebm-cli, importable as ``ebm_cli.conf``."""
