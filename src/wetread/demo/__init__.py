"""The demo: phantom studies, SFT, two steps of GRPO, evaluation, one page.

It assembles the same parts that the single commands run; nothing is done here that they cannot do.
"""

from wetread.demo.loop import run
from wetread.demo.plan import DemoConfig, plan

__all__ = ["DemoConfig", "plan", "run"]
