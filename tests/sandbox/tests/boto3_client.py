"""Tests of the stand-in with boto3: Greengrass's operations, and the credentials."""

import datetime
import unittest
import urllib.error

import boto3
import botocore.exceptions

from boto3_support import CORE, client, control, fault

ODD_NAMES = ["a:b", "with space", "slash/plus+percent%", "ü", "x" * 128]


def associated():
    return control("GET", "associated", core=CORE)


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
        """Returns the error of a call that meets a status, as boto3's modelled exception."""
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

    def test_associating_is_checked_too(self):
        errors = {"things": ["b"], "code": "Busy", "message": "try later"}
        fault({"entryErrors": errors}, operation="associate", times=1)
        answer = self.associate(["a", "b"])
        self.assertEqual(answer["errorEntries"], [{"thingName": "b", "code": "Busy", "message": "try later"}])
        self.assertEqual(self.associate(["a"])["errorEntries"], [])
        self.assertEqual(list(associated()), ["a"])
        with self.assertRaises(botocore.exceptions.ParamValidationError):
            self.associate([])
        self.client = client(validate=False)
        for names in ([], ["x" * 129]):
            with self.assertRaises(self.client.exceptions.ValidationException):
                self.associate(names)

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
        # A client has to detect this: boto3 takes an empty 200 for a success, and has no request id
        # then.
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
