"""What fixes a failure of AWS: shown by `check`, `doctor` and docs/troubleshooting.md."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.aws.errors import AwsError, Kind

BY_KIND: Mapping[Kind, str] = {
    Kind.ACCESS_DENIED: "check the role's name, its trust policy and its permissions (iam_policies/)",
    Kind.NO_CREDENTIALS: "configure credentials, e.g. AWS_PROFILE or a role of the task or instance; where there are"
    " some, check that the keys are active and whole, and that the file or process that holds them can be read",
    Kind.EXPIRED_CREDENTIALS: "sign in again, e.g. aws sso login",
    Kind.CLOCK_SKEW: "set the clock of this machine, e.g. by NTP: AWS refuses signatures that are minutes off",
    Kind.THROTTLED: "wait, or read less often (`interval`, `aws.threads`): another tool may use up the account's rate",
    Kind.TIMEOUT: "check the network path to AWS",
    Kind.CONNECTION: "check the network path to AWS: DNS, TLS, proxies, VPC endpoints",
    Kind.SERVER_ERROR: "wait: AWS itself fails, see health.aws.amazon.com; the exporter tries again",
    Kind.MALFORMED_RESPONSE: "check what answers in the place of AWS: a proxy, a VPC endpoint, aws.endpoint_url",
    Kind.REGION_DISABLED: "opt in to the region, or leave it out of `regions`; where all regions fail, check the keys",
    Kind.REGION_DENIED: "leave the region out of `regions`, or let the service control policy allow it",
    Kind.NOT_OFFERED: "switch the collector off; cost of AWS GovCloud (US) is on the bill of the commercial payer",
    Kind.DATA_UNAVAILABLE: "wait: once Cost Explorer is enabled, AWS takes a day for the current month",
    Kind.NOT_ENROLLED: "enable the service, or complete the registration of the account, in the AWS console",
    Kind.INVALID_REQUEST: "read AWS's words in the log: a setting may not fit the account, else it is a bug to report",
    Kind.EXPORT: "read the reason in the log, and docs/data-exports.md; the last good month stays",
    Kind.CURRENCY: "nothing: amounts in another currency than US dollars are not served",
    Kind.CEILING_REACHED: "wait for the next day or month, or raise the ceiling (`ceilings`)",
    Kind.PLAN_OVER_CEILING: "raise the ceiling, or ask for less: `aws-spend-exporter plan` shows what",
    Kind.DEADLINE: "raise `aws.run_deadline`, or look for what is slow in the account",
    Kind.LEDGER: "make room on the disk of `data_dir`, or repair it",
    Kind.STOPPED: "nothing: the exporter is stopping",
    Kind.INTERNAL: "report it, with the traceback in the exporter's log",
}

_BY_CODE: Mapping[str, str] = {
    "AWSOrganizationsNotInUseException": "set accounts.discovery to `payer` or `static`: the account is in no organization",
    "InvalidIdentityToken": "check the trust policy, and the identity provider in IAM, of the web identity token",
}

_ENROLMENT: Mapping[str, str] = {
    "ce": "enable Cost Explorer once in the payer's console (Billing and Cost Management, Cost Explorer; it takes a day)",
    "cost-optimization-hub": "enable Cost Optimization Hub once in the payer's console, with all member accounts",
}


def advice(error: AwsError) -> str:
    """What to do about a failure."""
    if (of_code := _BY_CODE.get(error.code)) is not None:
        return of_code
    if error.kind is Kind.NOT_ENROLLED:
        service = error.request.partition(" ")[0]
        return _ENROLMENT.get(service, BY_KIND[error.kind])
    return BY_KIND[error.kind]
