"""Parts of papers, each one idea. They return `Component`s, `Annotation`s and streams; they load nothing and read no YAML.

- `external`: other models' texts in a group: candidates -> selection -> ratio.
- `hints`: ask, write under a hint, accept.
- `distillation`: divergence, gate, step weights.
- `group_relative`: advantages, surrogate, KL.
"""
