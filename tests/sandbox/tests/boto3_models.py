"""Compares the constants of the stand-in with botocore's copy of AWS's service models."""

import unittest

import botocore.loaders

from boto3_support import control


class Model:
    """The tests that apply to each service."""

    service = None

    def setUp(self):
        self.model = botocore.loaders.Loader().load_service_model(self.service, "service-2")
        self.shapes = self.model["shapes"]
        self.ours = control("GET", "model")[self.service]

    def member(self, shape, name):
        """The shape of a structure's member or of a list's items."""
        shape = self.shapes[shape]
        return shape["members"][name]["shape"] if "members" in shape else shape["member"]["shape"]

    def limits(self, shape):
        return {key: self.shapes[shape][key] for key in ("min", "max")}

    def request(self, operation):
        return self.model["operations"][operation]["input"]["shape"]

    def test_service(self):
        metadata = self.model["metadata"]
        self.assertEqual(self.ours["apiVersion"], metadata["apiVersion"])
        self.assertEqual(self.ours["signingName"], metadata.get("signingName", metadata["endpointPrefix"]))
        self.assertEqual(metadata["protocol"], "rest-json")

    def test_operations(self):
        for name, ours in self.ours["operations"].items():
            theirs = self.model["operations"][name]
            http = {"method": ours["method"], "requestUri": ours["requestUri"], "responseCode": 200}
            self.assertEqual(http, {"responseCode": 200, **theirs["http"]}, name)
            self.assertEqual(ours["hostPrefix"], theirs.get("endpoint", {}).get("hostPrefix"), name)
            request = self.shapes[theirs["input"]["shape"]]
            self.assertEqual(sorted(ours["required"]), sorted(request["required"]), name)
            self.assertEqual(sorted(ours["input"]), sorted(request["members"]), name)
            errors = sorted(error["shape"] for error in theirs["errors"])
            self.assertEqual(sorted(ours["exceptions"]), errors, name)
            self.output(name, ours, theirs)

    def output(self, name, ours, theirs):
        if not ours["output"]:
            self.assertNotIn("output", theirs, name)
            return
        answer = self.shapes[theirs["output"]["shape"]]
        self.assertEqual(sorted(ours["output"]), sorted(answer["members"]), name)
        item = self.shapes[self.member(answer["members"][ours["output"][0]]["shape"], None)]
        self.assertEqual(sorted(ours["item"]), sorted(item.get("members", [])), name)

    def test_exceptions(self):
        for name, ours in self.ours["exceptions"].items():
            shape = self.shapes[name]
            self.assertEqual(ours["status"], shape["error"]["httpStatusCode"], name)
            body = {key for key, member in shape["members"].items() if member.get("location") != "header"}
            self.assertEqual(set(ours["members"]), body, name)
            headers = [member["locationName"] for member in shape["members"].values() if "location" in member]
            header = self.ours.get("retryAfterHeader", {}).get(name)
            self.assertEqual(headers, [header] if header else [], name)


class Greengrass(Model, unittest.TestCase):
    service = "greengrassv2"

    def test_limits(self):
        self.assertEqual(len(self.ours["operations"]), 3)
        ours = self.ours["limits"]
        for name, operation in self.ours["operations"].items():
            request = self.request(name)
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

    def test_reasons(self):
        reasons = self.shapes[self.member("ValidationException", "reason")]["enum"]
        self.assertLessEqual(set(self.ours["reasons"]), set(reasons))


class SiteWise(Model, unittest.TestCase):
    service = "iotsitewise"

    def test_limits(self):
        self.assertEqual(len(self.ours["operations"]), 4)
        ours = self.ours["limits"]
        for name, operation in self.ours["operations"].items():
            request = self.request(name)
            members = {member: self.member(request, member) for member in operation["input"]}
            for member in {"hierarchyId", "childAssetId"} & set(members):
                self.assertEqual(members[member], "CustomID", name)
            self.assertEqual(members.get("assetId", "CustomID"), "CustomID", name)
            self.assertEqual(members.get("projectId", "ID"), "ID", name)
            for member in {"assetIds", "clientToken", "maxResults"} & set(members):
                self.assertEqual(self.limits(members[member]), ours[member], name)
        self.assertEqual(self.limits("CustomID"), ours["customId"])
        self.assertEqual(self.limits("ID"), {"min": 36, "max": 36})
        self.assertEqual(self.member("IDs", None), "ID")

    def test_values(self):
        self.assertEqual(self.ours["directions"], self.shapes["TraversalDirection"]["enum"])
        self.assertEqual(self.ours["assetErrorCodes"], self.shapes["AssetErrorCode"]["enum"])
