"""Dashboards as code: `python -m grafana.build` writes grafana/dashboards from grafana/builder."""

import warnings

with warnings.catch_warnings():
    # The SDK prefers dashboards of schema v2, which file provisioning reads only from Grafana 12 on.
    warnings.simplefilter("ignore", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.builders.prometheus  # noqa: F401 - both only for their warnings
