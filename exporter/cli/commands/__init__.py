"""One command a module, named as it is typed (`iam-policy` is iam_policy.py); each declares `command`."""

PROGRAM = "aws-spend-exporter"


def examples(*lines: str) -> str:
    """What stands below the help of a command, as it is typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {PROGRAM} {line}" for line in lines)
