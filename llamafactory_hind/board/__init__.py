"""What LLaMA Board shows of our stages: `fields` and `labels` are pure, `train` builds the fields, `values` turns them into YAML."""
