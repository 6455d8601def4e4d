"""What the tests with boto3 share: the control API of the stand-in, and clients of it."""

import json
import os
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config

CORE = os.environ["SANDBOX_CORE"]
CONTROL = os.environ["SANDBOX_CONTROL"]


def control(method, path, body=None, **query):
    data = None if body is None else json.dumps(body).encode()
    query = "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote) if query else ""
    request = urllib.request.Request(f"{CONTROL}/_control/{path}{query}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def fault(action, **members):
    control("POST", "faults", {"action": action, **members})


def client(service="greengrassv2", validate=True, **members):
    """A client that finds endpoint and credentials in the environment, and does not retry."""
    config = Config(
        parameter_validation=validate,
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=5,
        # The stand-in listens on an address, which cannot have a name before it.
        inject_host_prefix=False,
    )
    return boto3.client(service, config=config, **members)
