"""What leaves the process holds no password."""

from __future__ import annotations

import pytest

from cl.redaction import redacted, without_secrets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:geheim@host:5000/a", "http://me:***@host:5000/a"),
        ("https://geheim@host/a", "https://***@host/a"),
        ("s3://user:ge/he?im@host/bucket", "s3://user:***@host/bucket"),
        ("http://me:ge@he@im@host", "http://me:***@host"),
        ("http://:geheim@host", "http://:***@host"),
        ("postgresql+psycopg://me:1234@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("postgresql://host/db?user=me&password=geheim&sslmode=off", "postgresql://host/db?user=me&password=***&sslmode=off"),
        ("https://host/a?X-Amz-Signature=geheim&x=1", "https://host/a?X-Amz-Signature=***&x=1"),
        ("cl run x '--tracking.uri=http://me:geheim@host' --seeds=1", "cl run x '--tracking.uri=http://me:***@host' --seeds=1"),  # noqa: E501
        ("API request to http://me:geheim@host/api failed: 'http://me:geheim@host'", "API request to http://me:***@host/api failed: 'http://me:***@host'"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_secret_is_masked_and_the_rest_stays(text: str, expected: str) -> None:
    assert redacted(text) == expected
    assert redacted(expected) == expected
    assert "geheim" not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:5000",
        "http://localhost:5000/a@b",
        "see http://localhost:5000 and write to me@host",
        "sqlite:////home/a/store/mlflow.db",
        "s3://bucket/folder",
        "postgresql://me@host/db",
        "--tokens=4096 --strategy.replay.share=0.1",
        "databricks",
        "",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redacted(text) == text


def test_settings_are_searched_in_depth() -> None:
    found = without_secrets({"tracking": {"uri": "http://me:geheim@host"}, "seeds": [0], "list": ["s3://a:b@c", None]})
    assert found == {"tracking": {"uri": "http://me:***@host"}, "seeds": [0], "list": ["s3://a:***@c", None]}
