"""Visual-knowledge reasoning methods as training stages of LLaMA-Factory."""

__version__ = "0.1.0"
