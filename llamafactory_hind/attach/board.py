"""LLaMA Board's menus: the host's constants, extended in place. The host keeps our entries after its own."""

from types import ModuleType

from .. import config


def extend_stage_menu(constants: ModuleType) -> None:
    """Add our stages to the stage menu."""
    constants.TRAINING_STAGES.update({config.LABELS[stage]: stage for stage in config.STAGES})


def extend_pair_stages(constants: ModuleType) -> None:
    """Show ranking datasets for the stages that read pairs."""
    constants.STAGES_USE_PAIR_DATA.update(config.PAIR_STAGES)
