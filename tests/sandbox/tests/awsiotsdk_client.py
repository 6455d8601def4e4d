"""Drives the stand-in of the IPC server with the AWS IoT Device SDK for Python. Run by awsiotsdk.rs."""

import os
import queue
import unittest

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import (
    BinaryMessage,
    JsonMessage,
    PublishMessage,
    ReceiveMode,
    ResourceNotFoundError,
    UnauthorizedError,
)

PATIENCE = 10
CORE = "offboard/MyCore"


class Common:
    def setUp(self):
        self.client = GreengrassCoreIPCClientV2()
        self.seen = queue.Queue()

    def tearDown(self):
        self.client.close()

    def subscribe(self, topic, **more):
        self.client.subscribe_to_topic(topic=topic, on_stream_event=self.seen.put, **more)

    def publish(self, topic, payload):
        message = PublishMessage(binary_message=BinaryMessage(message=payload))
        self.client.publish_to_topic(topic=topic, publish_message=message)

    def next(self):
        return self.seen.get(timeout=PATIENCE)

    def test_local_messages_come_back(self):
        self.subscribe(f"{CORE}/+", receive_mode=ReceiveMode.RECEIVE_ALL_MESSAGES)
        self.publish(f"{CORE}/status", b'{"state":"ONLINE"}')
        event = self.next()
        self.assertEqual(event.binary_message.message, b'{"state":"ONLINE"}')
        self.assertEqual(event.binary_message.context.topic, f"{CORE}/status")
        json = PublishMessage(json_message=JsonMessage(message={"a": [1, "x"]}))
        self.client.publish_to_topic(topic=f"{CORE}/status", publish_message=json)
        self.assertEqual(self.next().json_message.message, {"a": [1, "x"]})

    def test_messages_of_iot_core_come_back_once_for_each_filter(self):
        for topic in [f"{CORE}/commands/+/+", f"{CORE}/commands/#"]:
            self.client.subscribe_to_iot_core(topic_name=topic, qos="1", on_stream_event=self.seen.put)
        topic = f"{CORE}/commands/bench/sync"
        self.client.publish_to_iot_core(topic_name=topic, qos="1", payload=b"{}")
        for _ in range(2):
            message = self.next().message
            self.assertEqual((message.topic_name, message.payload), (topic, b"{}"))

    def test_a_policy_is_about_the_text_of_a_filter(self):
        with self.assertRaises(UnauthorizedError):
            self.subscribe("+/MyCore/status")
        with self.assertRaises(UnauthorizedError):
            self.publish("other/MyCore/status", b"")

    def test_a_key_that_is_not_there_is_not_found(self):
        with self.assertRaises(ResourceNotFoundError):
            self.client.get_configuration(component_name="com.example.Other", key_path=["port"])
        own = self.client.get_configuration(key_path=["accessControl"])
        self.assertIn("aws.greengrass.ipc.mqttproxy", own.value)


class Lite(Common, unittest.TestCase):
    def test_own_messages_come_back_in_any_mode(self):
        self.subscribe(f"{CORE}/status")
        self.publish(f"{CORE}/status", b"x")
        self.assertEqual(self.next().binary_message.message, b"x")

    def test_the_port_of_the_token_exchange_service_is_a_text(self):
        found = self.client.get_configuration(component_name="aws.greengrass.TokenExchangeService", key_path=["port"])
        self.assertIsInstance(found.value["port"], str)

    def test_sizes(self):
        self.subscribe(f"{CORE}/status")
        self.publish(f"{CORE}/status", b"x" * 7200)
        self.assertEqual(len(self.next().binary_message.message), 7200)
        self.client.subscribe_to_iot_core(topic_name=f"{CORE}/status", qos="1", on_stream_event=self.seen.put)
        for size in [5000, 4900]:
            self.client.publish_to_iot_core(topic_name=f"{CORE}/status", qos="1", payload=b"x" * size)
        self.assertEqual(len(self.next().message.payload), 4900, "the larger one is lost without an error")
        with self.assertRaises(Exception):
            self.publish(f"{CORE}/status", b"x" * 7400)


class Classic(Common, unittest.TestCase):
    def test_own_messages_come_back_only_where_that_is_asked_for(self):
        self.subscribe(f"{CORE}/status", receive_mode=ReceiveMode.RECEIVE_MESSAGES_FROM_OTHERS)
        self.publish(f"{CORE}/status", b"x")
        with self.assertRaises(queue.Empty):
            self.seen.get(timeout=0.5)

    def test_the_port_in_use_is_beside_the_one_that_was_configured(self):
        for key in ["port", "activePort"]:
            found = self.client.get_configuration(component_name="aws.greengrass.TokenExchangeService", key_path=[key])
            self.assertEqual(found.value, {key: 0})

    def test_large_messages(self):
        self.subscribe(f"{CORE}/status", receive_mode=ReceiveMode.RECEIVE_ALL_MESSAGES)
        self.publish(f"{CORE}/status", b"x" * 100_000)
        self.assertEqual(len(self.next().binary_message.message), 100_000)


assert os.environ["SVCUID"]
