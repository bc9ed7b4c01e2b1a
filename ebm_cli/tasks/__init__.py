"""What ebm-sample can do with a trained energy: each task is a sampler run on a (composed) energy."""

from ebm_cli.tasks.between import Interpolate, Translate
from ebm_cli.tasks.compare import Compare
from ebm_cli.tasks.compose import Compose
from ebm_cli.tasks.generate import Conditional, Generate
from ebm_cli.tasks.long_run import LongRun
from ebm_cli.tasks.restore import Denoise, Inpaint, SuperResolve
from ebm_cli.tasks.task import Result, Task

__all__ = [
    "Compare", "Compose", "Conditional", "Denoise", "Generate", "Inpaint", "Interpolate", "LongRun", "Result",
    "SuperResolve", "Task", "Translate",
]  # fmt: skip
