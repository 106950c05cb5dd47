"""The only folder that replaces host names: `hooks.py` is the whole list, `bootstrap.py` applies it.

Importing this package changes nothing; the `.pth` file of the wheel imports `bootstrap`, which installs the import hook.
"""
