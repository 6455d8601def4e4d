"""Tests of the stand-in with boto3: SiteWise's operations."""

import re
import unittest
import uuid

import botocore.exceptions
import botocore.loaders

from boto3_support import client, control, fault

EXTERNAL = "externalId:"
IDS = [
    "",
    "x" * 36,
    "0123abcd-0000-0000-0000-0000000000ef",
    "0123ABCD-0000-0000-0000-0000000000EF",
    "0123abcd-0000-0000-0000-0000000000efa",
    "0123abcd0-000-0000-0000-0000000000ef",
    "00000000-0000-0000-0000-000000000000",
    f"{EXTERNAL}ab",
    f"{EXTERNAL}a",
    f"{EXTERNAL}a-",
    f"{EXTERNAL}.ab",
    f"{EXTERNAL}a b",
    f"{EXTERNAL}a/b",
    f"{EXTERNAL}a:b",
    f"{EXTERNAL}_.-:_",
    f"{EXTERNAL}ü1",
    f"{EXTERNAL}ab\n",
    f"{EXTERNAL}{'x' * 128}",
    f"{EXTERNAL}{'x' * 129}",
    "externalid:ab",
]
TOKENS = ["x" * 35, "x" * 36, "x" * 64, "x" * 65, "ü" * 36, "x" * 36 + " ", "\t" + "x" * 36, "\u00a0" + "x" * 36]


class Assets(unittest.TestCase):
    def setUp(self):
        self.client = client("iotsitewise")
        self.exceptions = self.client.exceptions
        self.parent, self.hierarchy, self.project = (str(uuid.uuid4()) for _ in range(3))
        self.assets = sorted(str(uuid.uuid4()) for _ in range(3))
        control("POST", "child-assets", {"parent": self.parent, "hierarchy": self.hierarchy, "children": self.assets})
        control("POST", "project-assets", {"project": self.project, "assets": self.assets})
        control("DELETE", "calls")
        self.addCleanup(control, "DELETE", "faults")

    def disassociate(self, child, **members):
        members = {"assetId": self.parent, "hierarchyId": self.hierarchy, "childAssetId": child, **members}
        return self.client.disassociate_assets(**members)

    def disassociate_from_project(self, assets, **members):
        members = {"projectId": self.project, "assetIds": assets, **members}
        return self.client.batch_disassociate_project_assets(**members)

    def children(self):
        return list(control("GET", "child-assets", parent=self.parent, hierarchy=self.hierarchy))

    def in_project(self):
        return list(control("GET", "project-assets", project=self.project))

    def failing(self, exception, call, *arguments, **members):
        with self.assertRaises(getattr(self.exceptions, exception)) as raised:
            call(*arguments, **members)
        return raised.exception.response

    def test_a_child_leaves_its_parent(self):
        answer = self.disassociate(self.assets[0])
        self.assertEqual(set(answer), {"ResponseMetadata"})
        self.assertRegex(answer["ResponseMetadata"]["RequestId"], "^[0-9a-f-]{36}$")
        self.assertEqual(self.children(), self.assets[1:])
        call = control("GET", "calls")[-1]
        self.assertEqual((call["operation"], call["about"], call["core"]), ("disassociateAssets", self.parent, ""))
        self.assertEqual((call["things"], call["hierarchy"]), (self.assets[:1], self.hierarchy))
        # botocore generates a token where the caller gives none.
        self.assertEqual(len(call["clientToken"]), 36)

    def test_assets_leave_their_project(self):
        self.assertEqual(self.disassociate_from_project(self.assets[:2])["errors"], [])
        self.assertEqual(self.in_project(), self.assets[2:])
        call = control("GET", "calls")[-1]
        self.assertEqual((call["operation"], call["about"]), ("disassociateProjectAssets", self.project))
        self.assertEqual((call["things"], call["hierarchy"]), (self.assets[:2], None))

    def test_lists(self):
        size = {"PageSize": 2}
        children = {"assetId": self.parent, "hierarchyId": self.hierarchy, "traversalDirection": "CHILD"}
        pages = self.client.get_paginator("list_associated_assets").paginate(**children, PaginationConfig=size)
        pages = [[asset["id"] for asset in page["assetSummaries"]] for page in pages]
        self.assertEqual(pages, [self.assets[:2], self.assets[2:]])
        pages = self.client.get_paginator("list_project_assets").paginate(projectId=self.project, PaginationConfig=size)
        self.assertEqual([page["assetIds"] for page in pages], [self.assets[:2], self.assets[2:]])
        answer = self.client.list_associated_assets(assetId=self.assets[0], traversalDirection="PARENT")
        self.assertEqual([asset["id"] for asset in answer["assetSummaries"]], [self.parent])

    def test_summaries_are_as_the_model_wants_them(self):
        children = {"parent": self.parent, "hierarchy": self.hierarchy, "children": [f"{EXTERNAL}line:1"]}
        control("POST", "child-assets", children)
        shapes = botocore.loaders.Loader().load_service_model("iotsitewise", "service-2")["shapes"]
        summaries = self.client.list_associated_assets(assetId=self.parent)["assetSummaries"]
        self.assertEqual(len(summaries), 4)
        for summary in summaries:
            self.assertLessEqual(set(shapes["AssociatedAssetsSummary"]["required"]), set(summary))
            for member, shape in [("id", "ID"), ("arn", "ARN"), ("name", "Name"), ("assetModelId", "ID")]:
                self.assertRegex(summary[member], shapes[shape]["pattern"])
        self.assertIn("line:1", [summary.get("externalId") for summary in summaries])

    def test_repeats_with_the_same_token(self):
        token = str(uuid.uuid4())
        for call, assets, left in [
            (self.disassociate, self.assets[0], self.children),
            (self.disassociate_from_project, self.assets[:1], self.in_project),
        ]:
            answers = [call(assets, clientToken=token) for _ in range(2)]
            for answer in answers:
                answer.pop("ResponseMetadata")
            self.assertEqual(answers[0], answers[1])
            self.assertEqual([call["effect"] for call in control("GET", "calls")[-2:]], [True, False])
            other = self.assets[1] if call == self.disassociate else self.assets[1:]
            self.failing("InvalidRequestException", call, other, clientToken=token)
            self.assertEqual(left(), self.assets[1:])

    def test_what_does_not_exist(self):
        unknown = str(uuid.uuid4())
        for call, arguments, members in [
            (self.disassociate, [self.assets[0]], {"assetId": unknown}),
            (self.disassociate, [unknown], {}),
            (self.disassociate_from_project, [self.assets], {"projectId": unknown}),
            (self.client.list_associated_assets, [], {"assetId": unknown}),
        ]:
            response = self.failing("ResourceNotFoundException", call, *arguments, **members)
            self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 404)
            self.assertIn(unknown, response["Error"]["Message"])
        response = self.failing("InvalidRequestException", self.client.list_project_assets, projectId=unknown)
        self.assertIn(unknown, response["Error"]["Message"])

    def test_an_asset_that_is_not_in_the_project(self):
        unknown = str(uuid.uuid4())
        self.assertEqual(self.disassociate_from_project([unknown])["errors"], [])
        control("POST", "settings", {"notInProject": "notFound"})
        self.addCleanup(control, "POST", "settings", {"notInProject": "ignore"})
        response = self.failing("ResourceNotFoundException", self.disassociate_from_project, [self.assets[0], unknown])
        self.assertIn(unknown, response["Error"]["Message"])
        self.assertEqual(self.in_project(), self.assets)

    def test_errors_of_assets(self):
        errors = {"things": self.assets[:1], "code": "INTERNAL_FAILURE", "message": "try later"}
        fault({"entryErrors": errors}, operation="disassociateProjectAssets", times=1)
        answer = self.disassociate_from_project(self.assets[:2])
        error = {"assetId": self.assets[0], "code": "INTERNAL_FAILURE", "message": "try later"}
        self.assertEqual(answer["errors"], [error])
        self.assertEqual(self.in_project(), [self.assets[0], self.assets[2]])

    def test_exceptions(self):
        for status, code in [
            (400, "InvalidRequestException"),
            (404, "ResourceNotFoundException"),
            (409, "ConflictingOperationException"),
            (429, "ThrottlingException"),
            (500, "InternalFailureException"),
        ]:
            fault({"status": {"status": status, "code": code, "message": "no"}}, times=1)
            response = self.failing(code, self.disassociate, self.assets[0])
            self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)
            self.assertEqual(response["Error"]["Message"], "no")
            if status == 409:
                self.assertEqual(response["resourceId"], self.parent)
                self.assertTrue(response["resourceArn"].endswith(f":asset/{self.parent}"))
        self.assertEqual(self.children(), self.assets)

    def test_a_fault_about_one_parent(self):
        fault("deny", about=self.parent)
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            self.disassociate(self.assets[0])
        self.assertEqual(raised.exception.response["Error"]["Code"], "AccessDeniedException")
        self.assertEqual(self.disassociate_from_project(self.assets)["errors"], [])

    def test_what_boto3_refuses_itself(self):
        for call, arguments, members in [
            (self.disassociate, ["short"], {}),
            (self.disassociate, [self.assets[0]], {"clientToken": "x" * 35}),
            (self.disassociate_from_project, [[]], {}),
            (self.disassociate_from_project, [["x" * 35]], {}),
        ]:
            with self.assertRaises(botocore.exceptions.ParamValidationError):
                call(*arguments, **members)
        self.assertEqual(control("GET", "calls"), [])
        self.client = client("iotsitewise", validate=False)
        self.exceptions = self.client.exceptions
        for assets in ([], [str(uuid.uuid4()) for _ in range(101)], ["x" * 35]):
            self.failing("InvalidRequestException", self.disassociate_from_project, assets)

    def test_patterns_decide_what_is_refused(self):
        # boto3 checks lengths, not patterns; here AWS's own patterns determine the expected
        # response.
        self.client = client("iotsitewise", validate=False)
        self.exceptions = self.client.exceptions
        shapes = botocore.loaders.Loader().load_service_model("iotsitewise", "service-2")["shapes"]
        known = str(uuid.uuid4())

        def disassociate_from_project(asset):
            return self.disassociate_from_project([asset], projectId=known)

        for shape, values, call in [
            ("CustomID", IDS, self.disassociate),
            ("CustomID", IDS, lambda hierarchy: self.disassociate(known, hierarchyId=hierarchy)),
            ("CustomID", IDS[1:], lambda parent: self.disassociate(known, assetId=parent)),
            ("ID", IDS, disassociate_from_project),
            ("ID", IDS[1:], lambda project: self.disassociate_from_project([known], projectId=project)),
            ("ClientToken", TOKENS, lambda token: self.disassociate(known, clientToken=token)),
        ]:
            shape = shapes[shape]
            for value in values:
                fits = re.fullmatch(shape["pattern"], value) and shape["min"] <= len(value) <= shape["max"]
                with self.subTest(value=value):
                    self.failing("ResourceNotFoundException" if fits else "InvalidRequestException", call, value)


class Signature(unittest.TestCase):
    def test_that_of_the_other_service_is_refused(self):
        refused = client("iotsitewise")
        refused.meta.events.register("choose-signer.iotsitewise.*", sign_for_greengrass)
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            refused.list_project_assets(projectId=str(uuid.uuid4()))
        self.assertEqual(raised.exception.response["Error"]["Code"], "InvalidSignatureException")
        self.assertIn("'iotsitewise'", raised.exception.response["Error"]["Message"])


def sign_for_greengrass(context, **_):
    context.setdefault("signing", {})["signing_name"] = "greengrass"
    return "v4"
