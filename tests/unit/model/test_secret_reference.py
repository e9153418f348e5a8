"""Every form of a secret's `valueFrom`, and what is none."""

import pytest

from batchyard.model.secret_reference import (
    SecretReference,
    SecretStore,
    explain_value_from,
    parameter_names_of,
    parse_value_from,
)

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"
VERSION = "01234567-89ab-cdef-0123-456789abcdef"


def a_secret(**members) -> SecretReference:
    return SecretReference(store=SecretStore.SECRETS_MANAGER, region="eu-west-1", id=ARN, **members)


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("suffix", "members"),
    [
        ("", {}),
        (":::", {}),
        (":password::", {"json_key": "password"}),
        ("::AWSPREVIOUS:", {"version_stage": "AWSPREVIOUS"}),
        (f":::{VERSION}", {"version_id": VERSION}),
        (f"::{VERSION}", {"version_id": VERSION}),  # as the Batch guide prints it
        (":a b:AWSCURRENT:", {"json_key": "a b", "version_stage": "AWSCURRENT"}),
        (f":key::{VERSION}", {"json_key": "key", "version_id": VERSION}),
        (":key", {"json_key": "key"}),
    ],
)
def test_the_forms_of_a_secret_s_arn(suffix, members):
    assert parse_value_from(ARN + suffix, "us-east-1") == a_secret(**members)


@pytest.mark.aws_documented
@pytest.mark.parametrize("name", ["token", "/prod/token", "a.b-c_d", "/prod/token:3"])
def test_a_bare_name_is_a_parameter_of_the_job_s_region(name):
    assert parse_value_from(name, "us-west-2") == SecretReference(
        store=SecretStore.PARAMETER_STORE, region="us-west-2", id=name
    )


@pytest.mark.aws_documented
def test_a_parameter_s_arn_names_its_region():
    arn = "arn:aws:ssm:eu-central-1:111122223333:parameter/prod/token"
    reference = parse_value_from(arn, "us-east-1")
    assert (reference.store, reference.region, reference.id) == ("ssm", "eu-central-1", arn)


@pytest.mark.ours_only
def test_an_arn_s_names_are_tried_with_and_without_the_slash():
    def names(resource):
        arn = f"arn:aws:ssm:eu-central-1:111122223333:parameter/{resource}"
        return parameter_names_of(parse_value_from(arn, ""))

    assert names("token") == ("token", "/token")
    assert names("prod/token:3") == ("/prod/token:3",)
    assert parameter_names_of(parse_value_from("token", "us-east-1")) == ("token",)


@pytest.mark.ours_only
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not the name of an SSM parameter"),
        ("a b", "is not the name of an SSM parameter"),
        ("a:b:c", "is not the name of an SSM parameter"),
        ("arn:aws:s3:::bucket", "is not the ARN of a secret or of an SSM parameter"),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:x", "is not the ARN of a secret or"),
        ("arn:aws:secretsmanager:eu-west-1:111122223333:key:x", "is not the ARN of a secret"),
        ("arn:aws:secretsmanager:eu-west-1:111122223333:secret:", "is not the ARN of a secret"),
        (f"{ARN}:a:b:c:d", "is not the ARN of a secret"),
        (f"{ARN}::AWSCURRENT:{VERSION}", "names both a version stage and a version id"),
        ("arn:aws:ssm:eu-west-1:111122223333:document/x", "is not the ARN of an SSM parameter"),
        ("arn:aws:ssm:eu-west-1:111122223333:parameter/a b", "is not the ARN of an SSM parameter"),
    ],
)
def test_what_has_none_of_the_forms_is_explained(text, problem):
    assert problem in (explain_value_from(text) or "")
    with pytest.raises(ValueError, match=problem):
        parse_value_from(text, "us-east-1")


def test_nothing_is_said_of_what_is_well_formed():
    assert explain_value_from(f"{ARN}:key::") is None
    assert explain_value_from("/prod/token") is None
