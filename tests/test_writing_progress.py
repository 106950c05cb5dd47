"""The bar over completions: as long as all rollouts that are still to come, and there only where it is to be shown."""

from llamafactory_hind.trainers.rollouts.progress import WritingProgress


def test_the_bar_is_as_long_as_the_rollouts_to_come() -> None:
    """Six completions a rollout and four rollouts to come make 24; five of them are written."""
    progress = WritingProgress(6)
    progress.advance(2, step=1, rollouts=4, shown=False)
    assert progress._bar is None
    progress.advance(5, step=1, rollouts=4, shown=True)
    assert (progress._bar.total, progress._bar.n) == (24, 5)
    progress.close()
    progress.close()
