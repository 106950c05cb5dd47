"""`<template>_region`: the host's templates with plugins that write boxes in a model's terms and draw regions.

`conventions` says which family writes how, `plugin` does it, `register` names the templates, `answers` reads boxes back.
"""
