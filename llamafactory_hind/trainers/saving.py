"""Checkpoints, final weights and results of a run on disk: whole or not there, at whatever moment it is killed.

`transformers.Trainer` writes into `checkpoint-N` file by file, and its callbacks write into it afterwards. Here all of it goes
to `.saving/checkpoint-N`; when every process has written its part, the folder is sealed, synced and renamed at one stroke.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from ..storage.atomic import WriteRefused, refusal_of, remove, replaced, sync_folder, sync_tree, write_json
from ..storage.checkpoints import SAVING, STATE, find_whole, publish, rotate, seal


if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import ProcessorMixin

FINAL = "final"
LAST = ("adapter_model", "model", "pytorch_model")  # what a reader looks for: it comes when all else is there


class WholeSaves(Trainer):
    """The part of a trainer that writes models and states.

    Attributes:
        run: what tells the run from others, see `resuming.run_of`; kept in every checkpoint.
        processor: saved with every model; None where there is none.
    """

    run: Mapping[str, Any] = {}
    processor: "ProcessorMixin | None" = None
    _staging = False

    def save_parts(self, folder: Path) -> None:
        """Write what belongs to a checkpoint beside the Trainer's own files; called in every process."""

    # where and how

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return str(Path(folder) / SAVING) if self._staging else folder

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        final = Path(self._get_output_dir(None)) / f"checkpoint-{self.state.global_step}"
        staged = final.parent / SAVING / final.name
        try:
            self._clear(staged)
            self._staging = True
            try:
                super()._save_checkpoint(*args, **kwargs)
            finally:
                self._staging = False
            self._complete(staged, final)
        except Exception as error:
            raise self._told(error, final) from error
        if self.args.push_to_hub:
            super()._push_from_checkpoint(str(final))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self._staging:  # while it is staged it has not its name yet
            super()._push_from_checkpoint(checkpoint_folder)

    def _clear(self, staged: Path) -> None:
        if self.args.should_save:
            remove(staged)
        self.accelerator.wait_for_everyone()

    def _complete(self, staged: Path, final: Path) -> None:
        """Add our parts, seal, rename, and remove the oldest."""
        staged.mkdir(parents=True, exist_ok=True)
        self.save_parts(staged)
        best = self.state.best_model_checkpoint
        if best is not None and Path(best).parent.name == SAVING:
            self.state.best_model_checkpoint = best = str(final)
            if self.args.should_save:
                self.state.save_to_json(str(staged / STATE))
        if self.args.should_save and self.processor is not None:
            self.processor.save_pretrained(str(staged))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(staged, step=self.state.global_step, run=self.run)
            publish(staged, final)
            rotate(final.parent, limit=self.args.save_total_limit, keep=None if best is None else Path(best))
        self.accelerator.wait_for_everyone()
        if self.args.local_process_index == 0 and not final.exists():
            with suppress(FileNotFoundError):  # a node with a disk of its own, which holds its processes' part alone
                publish(staged, final)

    def _told(self, error: Exception, final: Path) -> Exception:
        """Return an error of a save with what is still there, if a disk said no."""
        reason = refusal_of(error)
        if reason is None:
            return error
        newest = find_whole(final.parent).newest
        kept = "no earlier one" if newest is None else newest.name
        with suppress(OSError):
            remove(final.parent / SAVING)
        return WriteRefused(
            f"{final}: not saved, {reason}. {kept} is there, whole. Make room, and start the same command again to go on from it."
            if newest is not None
            else f"{final}: not saved, {reason}. There is {kept}. Make room, and start the same command again."
        )

    # the end of a run

    def save_final(self) -> None:
        """Write the model into the output folder: all of its files or, killed or refused, those that were there before.

        Raises:
            WriteRefused: the disk is full, read-only or failed.
        """
        output = Path(self.args.output_dir)
        staged = output / SAVING / FINAL
        try:
            self._clear(staged)
            if self.args.should_save and self.processor is not None:
                self.processor.save_pretrained(str(staged))
            self.save_model(str(staged), _internal_call=True)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                sync_tree(staged)
                move_into(staged, output)
        except Exception as error:
            raise self._told(error, output) from error
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save")
        self.accelerator.wait_for_everyone()

    def save_metrics(self, split: str, metrics: dict[str, float], combined: bool = True) -> None:
        """Write `<split>_results.json` and add to `all_results.json`, each at one stroke."""
        if not self.is_world_process_zero():
            return
        output = Path(self.args.output_dir)
        write_json(output / f"{split}_results.json", metrics, indent=4)
        if combined:
            write_json(output / "all_results.json", {**_read(output / "all_results.json"), **metrics}, indent=4)

    def save_state(self) -> None:
        """Write the state of the whole run into the output folder, at one stroke."""
        if self.is_world_process_zero():
            with replaced(Path(self.args.output_dir) / STATE) as temporary:
                self.state.save_to_json(str(temporary))


def _read(file: Path) -> dict[str, Any]:
    import json

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def move_into(staged: Path, output: Path) -> None:
    """Rename the files of a folder into another, those that a reader looks for last."""
    for file in sorted(_files(staged), key=lambda file: (_rank(file), file.as_posix())):
        target = output / file.relative_to(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
        if target.parent != output:
            sync_folder(target.parent)
    sync_folder(output)
    remove(staged.parent)


def _files(folder: Path) -> "Iterator[Path]":
    return (entry for entry in folder.rglob("*") if entry.is_file())


def _rank(file: Path) -> int:
    """Return 0 for settings, 1 for weights, 2 for the index of weights in several files."""
    if file.name.endswith(".index.json"):
        return 2
    return int(file.name.startswith(LAST) and file.suffix != ".json")
