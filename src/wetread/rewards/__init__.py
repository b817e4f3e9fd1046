"""Rewards: scores made into one number per draft, and the guards that watch what it does. Pure, no torch.

>>> get("unirg_step2").metrics
('lexical_similarity', 'label_agreement', 'entity_f1', 'errors_total')
"""

from wetread.rewards.combine import Reward, RewardRecipe, Term, Transform, combine, dry_run, score_batch
from wetread.rewards.guards import GUARDS, FindingCalls, GuardEntry, GuardReport, guard
from wetread.rewards.recipes import RECIPES, get, names, single

__all__ = [
    "GUARDS", "RECIPES", "FindingCalls", "GuardEntry", "GuardReport", "Reward", "RewardRecipe", "Term", "Transform",
    "combine", "dry_run", "get", "guard", "names", "score_batch", "single",
]  # fmt: skip
