"""`formatting: region`: text that points into pictures (LSKD, arXiv 2312.04837)."""
