"""The page of `llamafactory-cli browse`, in a program of its own."""

import sys

from ...config.problem import ConfigError
from .command import serve


if __name__ == "__main__":
    try:
        serve(sys.argv[1:])
    except ConfigError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(0) from None
