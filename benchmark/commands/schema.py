"""`bench schema`: what a sweep file may hold, for an editor."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON schema of sweep files, with which an editor completes keys and marks mistakes as you write.

    Put `# yaml-language-server: $schema=sweep.schema.json` first in a sweep file that lies beside the schema.

    \b
    Example:
      bench schema > sweep.schema.json
    """
    from benchmark.plan.schema import sweep_schema

    typer.echo(json.dumps(sweep_schema(), indent=1))
