"""Options of log drivers, read and refused as docker's drivers do."""

import pytest

from batchyard.model.log_options import (
    PATTERN_LENGTH_MAX,
    FileLimits,
    compile_pattern,
    event_start_of,
    explain_log_options,
    file_limits_of,
    log_driver_failed,
)

DATE, PATTERN = "awslogs-datetime-format", "awslogs-multiline-pattern"


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("format_", "line", "other"),
    [
        ("%Y-%m-%d %H:%M:%S", "at 2026-11-26 01:02:03 x", "2026-13-26 01:02:03"),
        # What is no code is a pattern, as docker's own example has it.
        (r"\[%b %d, %Y %H:%M:%S\]", "[Nov 26, 2026 01:02:03]", "Nov 26, 2026 01:02:03"),
        ("%a %B %d %I:%M %p", "Thu November 26 01:02 AM", "Thu Novembre 26 01:02 AM"),
        ("%A %y %j", "Thursday 26 331", "Freitag 26 331"),
        ("%H:%M:%S%L", "01:02:03.456", "01:02:03,456"),
        ("%S.%f%z", "03.123456+0100", "03.123+0100"),
        ("%w %Z", "4 CET", "7 CET"),
    ],
)
def test_a_date_format_finds_its_dates(format_, line, other):
    pattern = event_start_of({DATE: format_})
    assert pattern is not None
    find = compile_pattern(pattern)
    assert find(line)
    assert not find(other)


@pytest.mark.aws_documented
def test_the_date_format_wins_and_without_either_each_line_is_an_event():
    assert event_start_of({DATE: "%Y", PATTERN: "^x"}) == r"\d{4}"
    assert event_start_of({PATTERN: "^x"}) == "^x"
    assert event_start_of({}) is None
    assert event_start_of({PATTERN: "", DATE: ""}) is None


@pytest.mark.aws_documented
def test_a_code_that_is_none_becomes_nothing():
    assert event_start_of({DATE: "a%Qb%%c%"}) == "abc%"


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(a", "missing ): (a"),
        ("(?=a)", "invalid perl operator: (?="),
        ("a{2000}", "invalid repetition size: {2000}"),
        ("\udcff", "invalid UTF-8"),
        ("a" * (PATTERN_LENGTH_MAX + 1), "pattern is longer than 4096 characters"),
    ],
)
def test_a_pattern_that_is_none_is_refused_in_docker_s_words(pattern, problem):
    text = explain_log_options("awslogs", {PATTERN: pattern})
    assert text == (
        f'awslogs could not parse multiline pattern key "{pattern}": error parsing regexp:'
        f" {problem}"
    )
    reason = log_driver_failed(text, is_fargate=False)
    assert reason.startswith(
        "CannotStartContainerError: Error response from daemon: failed to initialize logging"
        " driver: awslogs could not parse multiline pattern key"
    )
    assert len(reason) <= 255
    assert log_driver_failed("x", is_fargate=True) == (
        "ResourceInitializationError: failed to validate logger args: x"
    )


@pytest.mark.ours_only
def test_a_pattern_that_would_keep_others_busy_for_ever_does_not():
    assert not compile_pattern("(a+)+(a+)+(a+)+$")("a" * 20_000 + "b")


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, FileLimits()),
        ({"max-size": "10m", "max-file": "3"}, FileLimits(bytes_max=10_000_000, files_max=3)),
        ({"max-size": "100"}, FileLimits(bytes_max=100)),
        ({"max-size": "1.5kB"}, FileLimits(bytes_max=1_500)),
        ({"max-size": "2 GiB"}, FileLimits(bytes_max=2_000_000_000)),
    ],
)
def test_sizes_and_counts_of_files(options, limits):
    assert file_limits_of(options) == limits


@pytest.mark.aws_documented
@pytest.mark.parametrize(
    ("driver", "options", "problem"),
    [
        ("json-file", {"max-size": "10x"}, "invalid size: '10x'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "a"}, 'strconv.Atoi: parsing "a": invalid syntax'),
        ("json-file", {"compress": "1"}, "unknown log opt 'compress' for json-file log driver"),
        ("awslogs", {"tag": "x"}, "unknown log opt 'tag' for awslogs log driver"),
        ("none", {"x": "y"}, "unknown log opt 'x' for none log driver"),
        ("awslogs", {"mode": "fast"}, "logger: logging mode not supported: fast"),
        (
            "awslogs",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "json-file",
            {"mode": "non-blocking", "max-buffer-size": "m"},
            "error parsing option max-buffer-size: invalid size: 'm'",
        ),
    ],
)
def test_other_options_are_refused_in_docker_s_words(driver, options, problem):
    assert explain_log_options(driver, options) == problem


@pytest.mark.aws_documented
def test_what_is_understood_is_taken():
    options = {
        "awslogs-region": "eu-west-1",
        "awslogs-group": "g",
        "awslogs-stream-prefix": "p",
        "awslogs-create-group": "true",
        "mode": "non-blocking",
        "max-buffer-size": "4m",
        DATE: "%Y",
    }
    assert explain_log_options("awslogs", options) is None
    assert explain_log_options("json-file", {"max-size": "1m", "mode": "blocking"}) is None
    assert explain_log_options("none", {}) is None
