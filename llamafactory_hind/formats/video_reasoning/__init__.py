"""`formatting: video_reasoning`: questions about clips, with reasoning that may be wrong (ReasVQA, arXiv 2501.13536)."""
