"""The functions that the tests with boto3 share: the control API, and clients."""

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
    """Creates a client without retries; endpoint and credentials are in the environment."""
    config = Config(
        parameter_validation=validate,
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=5,
        # The stand-in listens on an IP address, which cannot have a host prefix.
        inject_host_prefix=False,
    )
    return boto3.client(service, config=config, **members)
