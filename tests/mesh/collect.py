"""Collects and acknowledges with the NHS's own client all that waits in a mailbox: one JSON object a line.

usage: collect.py URL MAILBOX PASSWORD SHARED_KEY
"""

import base64
import json
import sys

from mesh_client import MeshClient

url, mailbox, password, shared_key = sys.argv[1:]
with MeshClient(url, mailbox, password, shared_key=shared_key.encode(), max_retries=0, timeout=10) as client:
    client.handshake()
    for message in client.iterate_all_messages():
        with message:
            told = {
                "id": message.id(),
                "type": message.message_type,
                "sender": message.sender,
                "workflow": message.workflow_id,
                "local_id": message.local_id,
                "subject": message.subject,
                "body": base64.b64encode(message.read()).decode(),
            }
            print(json.dumps(told))
