"""Rewards: text and the columns of its row in, a float or None (does not apply) out. No torch, no LLaMA-Factory.

A file here is a family: its mapping `REWARDS` gives its rewards their names. The machinery (loading, limits, calling) is in `runner/`.
"""

from .columns import gather_columns
from .errors import RewardError
from .registry import REWARDS, get_reward
from .runner.scoring import Rewards, Scored, load_rewards


__all__ = ["REWARDS", "RewardError", "Rewards", "Scored", "gather_columns", "get_reward", "load_rewards"]
