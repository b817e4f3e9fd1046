"""Rewards: scores made into one number per draft, and the guards that watch what it does. Pure, no torch.

>>> get("unirg_step2").metrics
('lexical_similarity', 'label_agreement', 'entity_f1', 'errors_total')
"""

from wetread.rewards.asking import Asking
from wetread.rewards.combine import Reward, Started, ask, asks, bind, combine, readable, score_batch, start
from wetread.rewards.guards import GUARDS, FindingCalls, GuardEntry, GuardReport, guard
from wetread.rewards.recipe import RewardRecipe, Term
from wetread.rewards.recipes import RECIPES, get, names, single
from wetread.rewards.rehearsal import dry_run
from wetread.rewards.transforms import Step

__all__ = [
    "GUARDS", "RECIPES", "Asking", "FindingCalls", "GuardEntry", "GuardReport", "Reward", "RewardRecipe", "Started", "Step",
    "Term", "ask", "asks", "bind", "combine", "dry_run", "get", "guard", "names", "readable", "score_batch", "single", "start",
]  # fmt: skip
