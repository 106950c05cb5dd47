"""What can be wrong with a clip: an error that knows its field, what was found, what was expected and what to do."""


class ClipProblem(ValueError):
    """A clip that cannot be shown.

    Attributes:
        field: of the row: `start`, `end`, `frames`, `fps`; empty for the medium itself.
        got: what was found.
        expected: what it should have been.
        remedy: what to do.
    """

    def __init__(self, field: str, got: str, expected: str, remedy: str) -> None:
        """Keep the parts."""
        self.field, self.got, self.expected, self.remedy = field, got, expected, remedy
        super().__init__(f"{field or 'videos'}: got {got}, expected {expected}; {remedy}.")

    def __reduce__(self) -> tuple[type["ClipProblem"], tuple[str, str, str, str]]:
        """Let it pass between processes."""
        return type(self), (self.field, self.got, self.expected, self.remedy)
