"""`formatting: hindsight`: questions with reasoning and knowledge, or pairs of them (HinD, arXiv 2511.11132)."""
