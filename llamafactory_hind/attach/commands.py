"""Our commands of `llamafactory-cli`: name -> (module, function taking the words after the command, one line of help)."""

COMMANDS: dict[str, tuple[str, str, str]] = {
    "synth": ("llamafactory_hind.pipelines.runner.run", "run_synth", "write rows with a model"),
    "score": ("llamafactory_hind.evaluation.score", "run_score", "metrics over predictions"),
}
