"""The loop of `stage: lskd`: pictures and texts, a model with a matcher's heads. `engines.local.matching` holds the model."""
