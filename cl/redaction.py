"""Text that leaves this process, without the secrets that URLs and settings carry.

A password in a tracking URI, in the URL of a store or of a database is needed to connect and is nobody else's business:
everything that is printed, written to a report or sent to MLflow passes `redacted` or `without_secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

# scheme://user:password@ — up to the last @ of the token, because passwords hold @, / and ? unescaped. HOST:PORT/ with
# an @ further on, as in http://localhost:5000/a@b, is no password.
_PASSWORD = re.compile(r"""(?ix) \b ([a-z][a-z0-9+.\-]*://) ([^\s:/?\#@]*) : (?! \d+ (?: [/?\#'"] | \s | $ ) ) \S* @""")
# http://token@
_TOKEN = re.compile(r"""(?ix) \b (https?://) [^\s:/?\#@'"]+ @""")
_NAMES = r"password|passwd|passphrase|pwd|secret|token|signature|credential|api_?key|access_?key|account_?key"
# ?password=…, &X-Amz-Signature=…, --tracking.token=…
_VALUE = re.compile(rf"""(?ix) ( (?: [?&;] | -- ) [\w.\-]* (?: {_NAMES} ) = | [?&;] (?: sig | key ) = ) [^\s&;\#'"]+""")


def redacted(text: str) -> str:
    """A text with `***` for the passwords of its URLs, and for the values of parameters that are named as secrets.

    Args:
        text: any text, such as a URL, a command line or an error message that repeats a URL.
    """
    text = _PASSWORD.sub(rf"\1\2:{MASK}@", text)
    text = _TOKEN.sub(rf"\1{MASK}@", text)
    return _VALUE.sub(rf"\g<1>{MASK}", text)


def without_secrets(data: Any) -> Any:
    """Plain data with every text in it redacted; keys of mappings stay."""
    if isinstance(data, str):
        return redacted(data)
    if isinstance(data, Mapping):
        return {key: without_secrets(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(without_secrets, data))
    return data
