"""Pictures whose questions point, for LSKD (arXiv 2312.04837): two of three things look alike, and what one does depends on its dot."""
