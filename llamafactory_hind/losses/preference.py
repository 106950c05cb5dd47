"""Pair losses of Knowledge Encouragement Preference Optimization (HinD, arXiv 2511.11132).

The paper's own formula could not be read: the loss is DPO's (arXiv 2305.18290, eq. 7) on HinD's pairs [ours].
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from .reduce import wide


def kepo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Encourage the chosen knowledge over the rejected, relative to the reference.

    loss = -w log sigma(beta [(log pi(k_w) - log pi_ref(k_w)) - (log pi(k_l) - log pi_ref(k_l))])

    Args:
        chosen: (B,) log pi(k_w), summed over the tokens of the chosen text.
        rejected: (B,) log pi(k_l), likewise.
        ref_chosen: (B,) log pi_ref(k_w).
        ref_rejected: (B,) log pi_ref(k_l).
        beta: strength of the tie to the reference, per nat.
        weights: (B,) factor w of each pair, None for 1.

    Returns:
        (B,) losses, at least float32.
    """
    margin = (wide(chosen) - wide(ref_chosen)) - (wide(rejected) - wide(ref_rejected))  # (B,)
    return _weighted_logistic(beta * margin, weights)


def kepo_length_normalized_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    chosen_length: Tensor,
    rejected_length: Tensor,
    *,
    beta: float,
    weights: Tensor | None = None,
) -> Tensor:
    """`kepo_loss` with each log-ratio divided by its text's number of tokens, so that length earns nothing [ours].

    loss = -w log sigma(beta [(log pi(k_w) - log pi_ref(k_w)) / |k_w| - (log pi(k_l) - log pi_ref(k_l)) / |k_l|])

    Args:
        chosen: (B,) log pi(k_w), summed over the tokens of the chosen text.
        rejected: (B,) log pi(k_l), likewise.
        ref_chosen: (B,) log pi_ref(k_w).
        ref_rejected: (B,) log pi_ref(k_l).
        chosen_length: (B,) number of scored tokens |k_w|, at least 1.
        rejected_length: (B,) number of scored tokens |k_l|, at least 1.
        beta: strength of the tie to the reference, per nat and token.
        weights: (B,) factor w of each pair, None for 1.

    Returns:
        (B,) losses, at least float32.
    """
    chosen_gain = (wide(chosen) - wide(ref_chosen)) / chosen_length  # (B,) nats per token
    rejected_gain = (wide(rejected) - wide(ref_rejected)) / rejected_length
    return _weighted_logistic(beta * (chosen_gain - rejected_gain), weights)


def gap_weights(ref_chosen_mean: Tensor, ref_rejected_mean: Tensor) -> Tensor:
    """Weight a pair by how far the reference's confidence is misaligned: sigma(c(k_l) - c(k_w)) [ours].

    Args:
        ref_chosen_mean: (B,) confidence c(k_w), the mean token log-prob under the reference.
        ref_rejected_mean: (B,) confidence c(k_l).

    Returns:
        (B,) weights in (0, 1), without gradient; 1/2 where both texts are equally confident.
    """
    return (wide(ref_rejected_mean.detach()) - wide(ref_chosen_mean.detach())).sigmoid()


def preference_metrics(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float
) -> dict[str, Tensor]:
    """Implicit rewards r(k) = beta (log pi(k) - log pi_ref(k)) of each pair, unreduced and without gradient.

    Args:
        chosen: (B,) log pi(k_w), summed over tokens; the other three likewise.
        rejected: (B,) log pi(k_l).
        ref_chosen: (B,) log pi_ref(k_w).
        ref_rejected: (B,) log pi_ref(k_l).
        beta: the beta of the loss.

    Returns:
        (B,) each, under the host's names: `rewards/chosen`, `rewards/rejected`, `rewards/margins` = r(k_w) - r(k_l),
        `rewards/accuracies` = 1 where r(k_w) > r(k_l), else 0 (a tie is no success).
    """
    chosen_rewards = beta * (wide(chosen.detach()) - wide(ref_chosen.detach()))
    rejected_rewards = beta * (wide(rejected.detach()) - wide(ref_rejected.detach()))
    return {
        "rewards/chosen": chosen_rewards,
        "rewards/rejected": rejected_rewards,
        "rewards/margins": chosen_rewards - rejected_rewards,
        "rewards/accuracies": (chosen_rewards > rejected_rewards).to(chosen_rewards.dtype),
    }


def _weighted_logistic(margin: Tensor, weights: Tensor | None) -> Tensor:
    losses = -logsigmoid(margin)  # (B,)
    return losses if weights is None else losses * weights
