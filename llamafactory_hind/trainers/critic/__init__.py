"""The loop of `stage: critic`: rated texts, a model with three heads. `engines.local.critic` holds the model."""
