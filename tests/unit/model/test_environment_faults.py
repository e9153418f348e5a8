"""Why an environment is INVALID, in AWS's words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batchyard.model.environment_faults import environment_fault_of

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PROFILE = "arn:aws:iam::123456789012:instance-profile/mine"
ROLE = "arn:aws:iam::123456789012:role/service-role/mine"


def fault(**members: Any) -> str | None:
    service_role = members.pop("serviceRole", ROLE)
    return environment_fault_of({"serviceRole": service_role, "computeResources": members})


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"serviceRole": "mine"},
        {"instanceRole": "ecsInstanceRole"},
        {"instanceRole": PROFILE, "spotIamFleetRole": ROLE},
    ],
)
def test_names_and_arns_of_roles_are_fine(members):
    assert fault(**members) is None


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (
            {"serviceRole": PROFILE},
            r"CLIENT_ERROR - Not authorized to perform sts:AssumeRole \(Service:"
            r" AWSSecurityTokenService; Status Code: 403; Error Code: AccessDenied; Request ID:"
            rf" {UUID}\)",
        ),
        (
            {"spotIamFleetRole": "arn:aws:iam::1:role/fleet"},
            r"CLIENT_ERROR - Parameter: SpotFleetRequestConfig.IamFleetRole is invalid\. \(Service:"
            r" AmazonEC2; Status Code: 400; Error Code: InvalidSpotFleetRequestConfig; Request ID:"
            rf" {UUID}\)",
        ),
        ({"instanceRole": ROLE}, f"CLIENT_ERROR - Instance profile {ROLE} does not exist"),
    ],
)
def test_what_cannot_be_a_role_is_told_as_amazon_tells_it(members, reason):
    found = fault(**members)
    assert found is not None
    assert re.fullmatch(reason, found)
