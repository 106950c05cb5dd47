"""The offline world: rendered scenes and clips, a fictional knowledge base, datasets and a tiny real Qwen2.5-VL.

Built by ``python -m llamafactory_hind.toyworld --out DIR [--seed N] [--size small|base]``; deterministic by seed, no network.
The knowledge base follows HinD (arXiv 2511.11132): for a third of the facts a popular false version is told more often than the true one.
"""
