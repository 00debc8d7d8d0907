"""What is raised where a rule has no limit."""


class NoLimitError(ValueError):
    """A rule has no limit under some label noise.

    Attributes:
        reason: why, in one line that names the argument.
        consequence: what the rule does there. The message is "reason: consequence".
    """

    def __init__(self, reason: str, consequence: str):
        super().__init__(reason, consequence)
        self.reason, self.consequence = reason, consequence

    def __str__(self):
        return f"{self.reason}: {self.consequence}"
