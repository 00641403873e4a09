"""One command a module, named as it is typed (`iam-policy` is iam_policy.py); each declares `command`."""
