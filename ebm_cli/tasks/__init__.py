"""What ebm-sample can do with a trained energy: each task is a sampler run on a (composed) energy."""

from ebm_cli.tasks.generate import Conditional, Generate
from ebm_cli.tasks.task import Result, Task

__all__ = ["Conditional", "Generate", "Result", "Task"]
