"""What boto3 makes of the stand-in. Started by boto3.rs, which sets the environment."""

import datetime
import json
import os
import unittest
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.exceptions
import botocore.loaders
from botocore.config import Config

CORE = os.environ["SANDBOX_CORE"]
CONTROL = os.environ["SANDBOX_CONTROL"]
ODD_NAMES = ["a:b", "with space", "slash/plus+percent%", "ü", "x" * 128]


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{CONTROL}/_control/{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def fault(action, **members):
    control("POST", "faults", {"action": action, **members})


def associated():
    return control("GET", "associated?core=" + urllib.parse.quote(CORE, safe=""))


def client(validate=True, **members):
    """A client that finds endpoint and credentials in the environment, and does not retry."""
    retries = {"total_max_attempts": 1}
    config = Config(parameter_validation=validate, retries=retries, connect_timeout=5, read_timeout=5)
    return boto3.client("greengrassv2", config=config, **members)


def entries(names):
    return [{"thingName": name} for name in names]


class Operations(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.empty)

    def empty(self):
        control("DELETE", "faults")
        names = sorted(associated())
        for start in range(0, len(names), 100):
            self.disassociate(names[start : start + 100])

    def associate(self, names):
        return self.client.batch_associate_client_device_with_core_device(
            coreDeviceThingName=CORE, entries=entries(names)
        )

    def disassociate(self, names, core=CORE):
        return self.client.batch_disassociate_client_device_from_core_device(
            coreDeviceThingName=core, entries=entries(names)
        )

    def list(self, **members):
        return self.client.list_client_devices_associated_with_core_device(coreDeviceThingName=CORE, **members)

    def failing(self, exception, **status):
        """The error of a call that meets a status, which boto3 has to know as a modelled exception."""
        fault({"status": status}, times=1)
        with self.assertRaises(getattr(self.client.exceptions, exception)) as raised:
            self.list()
        return raised.exception

    def test_there_and_back(self):
        before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(milliseconds=2)
        answer = self.associate(ODD_NAMES)
        self.assertEqual(answer["errorEntries"], [])
        self.assertRegex(answer["ResponseMetadata"]["RequestId"], "^[0-9a-f-]{36}$")
        answer = self.list()
        self.assertNotIn("nextToken", answer)
        devices = {device["thingName"]: device["associationTimestamp"] for device in answer["associatedClientDevices"]}
        self.assertEqual(set(devices), set(ODD_NAMES))
        for timestamp in devices.values():
            self.assertIsInstance(timestamp, datetime.datetime)
            self.assertLessEqual(before, timestamp)
            self.assertLessEqual(timestamp, datetime.datetime.now(datetime.timezone.utc))
        self.assertEqual(self.disassociate(ODD_NAMES[:-1])["errorEntries"], [])
        self.assertEqual(list(associated()), ODD_NAMES[-1:])
        self.assertEqual(self.disassociate(ODD_NAMES)["errorEntries"], [])
        self.assertEqual(self.list()["associatedClientDevices"], [])

    def test_no_entries_at_all(self):
        answer = self.client.batch_disassociate_client_device_from_core_device(coreDeviceThingName=CORE)
        self.assertEqual(answer["errorEntries"], [])

    def test_pages(self):
        names = [f"device-{number:04}" for number in range(250)]
        control("POST", "associate", {"core": CORE, "things": names})
        paginator = self.client.get_paginator("list_client_devices_associated_with_core_device")
        for size, lengths in [(None, [100, 100, 50]), (50, [50] * 5), (99, [99, 99, 52])]:
            pages = paginator.paginate(coreDeviceThingName=CORE, PaginationConfig={"PageSize": size})
            pages = [[device["thingName"] for device in page["associatedClientDevices"]] for page in pages]
            self.assertEqual([len(page) for page in pages], lengths)
            self.assertEqual(sum(pages, []), names)

    def test_entry_errors(self):
        self.associate(["a", "b"])
        fault({"entryErrors": {"things": ["b"], "code": "Busy", "message": "try later"}}, operation="disassociate")
        answer = self.disassociate(["a", "b"])
        self.assertEqual(answer["errorEntries"], [{"thingName": "b", "code": "Busy", "message": "try later"}])
        self.assertEqual(list(associated()), ["b"])

    def test_validation(self):
        fault({"rejectEntry": {"thing": "b", "nameField": True}}, times=1)
        with self.assertRaises(self.client.exceptions.ValidationException) as raised:
            self.disassociate(["a", "b"])
        response = raised.exception.response
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 400)
        self.assertEqual(response["reason"], "FIELD_VALIDATION_FAILED")
        self.assertEqual([field["name"] for field in response["fields"]], ["entries.1.thingName"])
        self.assertTrue(response["fields"][0]["message"])
        self.assertEqual(response["Error"]["Code"], "ValidationException")

        fault({"rejectEntry": {"thing": "b"}}, times=1)
        with self.assertRaises(self.client.exceptions.ValidationException) as raised:
            self.disassociate(["a", "b"])
        self.assertEqual(raised.exception.response["reason"], "OTHER")
        self.assertNotIn("fields", raised.exception.response)

    def test_validation_that_boto3_would_do_itself(self):
        self.client = client(validate=False)
        for names in ([], [str(number) for number in range(101)], ["x" * 129], [""]):
            with self.assertRaises(self.client.exceptions.ValidationException) as raised:
                self.disassociate(names)
            self.assertEqual(raised.exception.response["reason"], "FIELD_VALIDATION_FAILED")
        with self.assertRaises(self.client.exceptions.ValidationException):
            self.list(nextToken="not one of ours")
        with self.assertRaises(self.client.exceptions.ValidationException):
            self.list(maxResults=101)

    def test_throttling(self):
        error = self.failing("ThrottlingException", status=429, code="ThrottlingException", retryAfter="7").response
        self.assertEqual(error["retryAfterSeconds"], 7)
        self.assertEqual(error["ResponseMetadata"]["HTTPStatusCode"], 429)
        error = self.failing("ThrottlingException", status=429, code="ThrottlingException").response
        self.assertNotIn("retryAfterSeconds", error)

    def test_other_exceptions(self):
        members = {"status": 500, "code": "InternalServerException", "message": "oh", "retryAfter": "3"}
        error = self.failing("InternalServerException", **members).response
        self.assertEqual((error["Error"]["Message"], error["retryAfterSeconds"]), ("oh", 3))
        error = self.failing("ResourceNotFoundException", status=404, code="ResourceNotFoundException").response
        self.assertEqual(error["resourceId"], CORE)
        fault("deny", times=1)
        with self.assertRaises(self.client.exceptions.AccessDeniedException) as raised:
            self.list()
        self.assertEqual(raised.exception.response["ResponseMetadata"]["HTTPStatusCode"], 403)

    def test_another_core(self):
        with self.assertRaises(self.client.exceptions.ResourceNotFoundException) as raised:
            self.disassociate(["a"], core="another")
        response = raised.exception.response
        self.assertEqual(response["resourceId"], "another")
        self.assertTrue(response["resourceType"])

    def test_answers_that_are_not_the_apis(self):
        # A client has to know: boto3 takes an empty 200 for a success, and has no request id then.
        self.associate(["a"])
        fault("emptyOk", times=1)
        self.assertNotIn("RequestId", self.disassociate(["a"])["ResponseMetadata"])
        self.assertEqual(list(associated()), ["a"])
        fault("cutBefore", times=1)
        with self.assertRaises(botocore.exceptions.ConnectionClosedError):
            self.disassociate(["a"])
        fault({"status": {"status": 503}}, times=1)
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            self.disassociate(["a"])
        self.assertEqual(raised.exception.response["ResponseMetadata"]["HTTPStatusCode"], 503)

    def test_log_of_calls(self):
        control("DELETE", "calls")
        self.associate(["a"])
        calls = control("GET", "calls")
        call = next(call for call in calls if call["operation"] == "associate")
        self.assertEqual((call["core"], call["things"], call["status"], call["effect"]), (CORE, ["a"], 200, True))
        self.assertLessEqual(call["at"], call["ended"])

    def test_settings(self):
        self.associate(["a", "b"])
        control("POST", "settings", {"pageSize": 1, "notAssociated": "entryError"})
        self.addCleanup(control, "POST", "settings", {"pageSize": 100, "notAssociated": "ignore"})
        self.assertEqual([device["thingName"] for device in self.list()["associatedClientDevices"]], ["a"])
        self.assertEqual([error["thingName"] for error in self.disassociate(["a", "c"])["errorEntries"]], ["c"])
        for path, body in [("settings", {"pagesize": 1}), ("faults", {"action": "none"}), ("nothing", {})]:
            with self.assertRaises(urllib.error.HTTPError) as raised:
                control("POST", path, body)
            self.assertEqual(raised.exception.code, 404 if path == "nothing" else 400)
            raised.exception.close()

    def test_offline(self):
        control("POST", "offline", {"offline": True})
        with self.assertRaises((botocore.exceptions.HTTPClientError, botocore.exceptions.CredentialRetrievalError)):
            self.list()
        control("POST", "offline", {"offline": False})
        self.assertEqual(self.list()["associatedClientDevices"], [])


class Credentials(unittest.TestCase):
    def refused(self, code, **changes):
        good = boto3.Session().get_credentials().get_frozen_credentials()
        members = {
            "aws_access_key_id": good.access_key,
            "aws_secret_access_key": good.secret_key,
            "aws_session_token": good.token,
        }
        refused = client(**{**members, **changes})
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            refused.list_client_devices_associated_with_core_device(coreDeviceThingName=CORE)
        self.assertEqual(raised.exception.response["Error"]["Code"], code)
        self.assertEqual(raised.exception.response["ResponseMetadata"]["HTTPStatusCode"], 403)

    def test_they_come_from_the_container_provider(self):
        credentials = boto3.Session().get_credentials()
        self.assertEqual(credentials.method, "container-role")
        self.assertFalse(credentials.refresh_needed())

    def test_wrong_ones_are_refused(self):
        self.refused("InvalidSignatureException", aws_secret_access_key="another")
        self.refused("UnrecognizedClientException", aws_access_key_id="ANOTHER")
        self.refused("UnrecognizedClientException", aws_session_token="another")


class Model(unittest.TestCase):
    """The constants of the stand-in against botocore's copy of AWS's service model."""

    def setUp(self):
        self.model = botocore.loaders.Loader().load_service_model("greengrassv2", "service-2")
        self.shapes = self.model["shapes"]
        self.ours = control("GET", "model")["greengrassv2"]

    def member(self, shape, name):
        """The shape of a structure's member or of a list's items."""
        shape = self.shapes[shape]
        return shape["members"][name]["shape"] if "members" in shape else shape["member"]["shape"]

    def limits(self, shape):
        return {key: self.shapes[shape][key] for key in ("min", "max")}

    def test_service(self):
        metadata = self.model["metadata"]
        self.assertEqual(self.ours["apiVersion"], metadata["apiVersion"])
        self.assertEqual(self.ours["signingName"], metadata.get("signingName", metadata["endpointPrefix"]))
        self.assertEqual(metadata["protocol"], "rest-json")

    def test_operations(self):
        self.assertEqual(len(self.ours["operations"]), 3)
        for name, ours in self.ours["operations"].items():
            theirs = self.model["operations"][name]
            http = {"method": ours["method"], "requestUri": ours["requestUri"], "responseCode": 200}
            self.assertEqual(http, theirs["http"], name)
            self.assertEqual(ours["hostPrefix"], theirs.get("endpoint", {}).get("hostPrefix"), name)
            request, answer = (self.shapes[theirs[side]["shape"]] for side in ("input", "output"))
            self.assertEqual(sorted(ours["required"]), sorted(request["required"]), name)
            self.assertEqual(sorted(ours["input"]), sorted(request["members"]), name)
            self.assertEqual(sorted(ours["output"]), sorted(answer["members"]), name)
            self.assertNotIn("required", answer, name)
            item = self.member(answer["members"][ours["output"][0]]["shape"], None)
            self.assertEqual(sorted(ours["item"]), sorted(self.shapes[item]["members"]), name)
            errors = sorted(error["shape"] for error in theirs["errors"])
            self.assertEqual(sorted(ours["exceptions"]), errors, name)

    def test_limits(self):
        ours = self.ours["limits"]
        for name, operation in self.ours["operations"].items():
            request = self.model["operations"][name]["input"]["shape"]
            self.assertEqual(self.limits(self.member(request, "coreDeviceThingName")), ours["thingName"])
            self.assertNotIn("pattern", self.shapes[self.member(request, "coreDeviceThingName")])
            if "entries" in operation["input"]:
                entries = self.member(request, "entries")
                self.assertEqual(self.limits(entries), ours["entries"])
                entry = self.member(entries, None)
                self.assertEqual(self.shapes[entry]["required"], ["thingName"])
                self.assertEqual(self.limits(self.member(entry, "thingName")), ours["thingName"])
            else:
                self.assertEqual(self.limits(self.member(request, "maxResults")), ours["maxResults"])
                self.assertEqual(self.shapes[self.member(request, "nextToken")], {"type": "string"})

    def test_exceptions(self):
        for name, ours in self.ours["exceptions"].items():
            shape = self.shapes[name]
            self.assertEqual(ours["status"], shape["error"]["httpStatusCode"], name)
            body = {key for key, member in shape["members"].items() if member.get("location") != "header"}
            self.assertEqual(set(ours["members"]), body, name)
            headers = [member["locationName"] for member in shape["members"].values() if "location" in member]
            header = self.ours["retryAfterHeader"].get(name)
            self.assertEqual(headers, [header] if header else [], name)
        reasons = self.shapes[self.member("ValidationException", "reason")]["enum"]
        self.assertLessEqual(set(self.ours["reasons"]), set(reasons))


if __name__ == "__main__":
    unittest.main()
