"""One file a stage; the file's name is the stage's name. Each defines `run(args)`.

Its keys, label and rows are in `config/stages/<same name>`. Rollout stages hand `trainers.rollouts.run` an `Annotator`; pair stages
hand `trainers.pairs` a loss. A stage never imports another stage: what two need is in `methods`.
"""

from ..config.catalogue import Catalogue


STAGES = Catalogue(__name__, __path__, "stage")
stage_names, get_stage = STAGES.names, STAGES.get
